"""What a response other than success means: the error to raise, and what to check."""

from __future__ import annotations

import re

import msgspec

from ..errors import AuthenticationError, InngestError, UnexpectedResponseError
from .http import HttpRequest, HttpResponse

_CHECK_ADDRESS = "Check INNGEST_BASE_URL, INNGEST_API_BASE_URL or api_base_url."


# What Inngest says in plain text; its JSON repeats the status.
_REJECTIONS = (b"Authentication failed", b"Not authenticated")


class _Error(msgspec.Struct):
    error: str
    status: int | None = None


def check_response(request: HttpRequest, response: HttpResponse, *, action: str) -> None:
    """Return when the status is 2xx and the content is not a web page; otherwise raise the error that fits.

    Args:
        action: What was attempted, to begin the message with: "Minting a subscription token".

    Raises:
        AuthenticationError: 401 or 403.
        UnexpectedResponseError: Anything else; its `status` tells 429 and 5xx, where trying again may help.
    """
    status = response.status
    if status in (401, 403):
        raise _rejected(request, response, action)
    if 200 <= status < 300:
        if response.headers.get("content-type", "").startswith("text/html"):
            meaning = f"a web page came back. The path is wrong or this is not an Inngest server. {_CHECK_ADDRESS}"
            raise unexpected(request, response, action, meaning)
        return
    raise unexpected(request, response, action, _meaning(response))


def unexpected(request: HttpRequest, response: HttpResponse, action: str, meaning: str) -> UnexpectedResponseError:
    """An error that says what was attempted, where, with which status, and what that means."""
    message = _message(request, response, action, meaning)
    return UnexpectedResponseError(message, url=request.endpoint, status=response.status)


def _message(request: HttpRequest, response: HttpResponse, action: str, meaning: str) -> str:
    return f"{action} failed: {request.endpoint} responded with {response.status}: {meaning}"


def is_inngests_rejection(status: int, content: bytes) -> bool:
    """Whether a response of 401 or 403 is Inngest's own, and not that of something in front of it."""
    if content.startswith(_REJECTIONS):
        return True
    try:
        return msgspec.json.decode(content, type=_Error).status == status
    except msgspec.DecodeError:
        return False


def _rejected(request: HttpRequest, response: HttpResponse, action: str) -> InngestError:
    own = is_inngests_rejection(response.status, response.content)
    if not own:
        what = "it is not the response of an Inngest server: a proxy or a login page may have responded in its place."
        what += f" {_CHECK_ADDRESS}"
    elif "authorization" in request.headers:
        what = "Inngest refused the signing key. Check that INNGEST_SIGNING_KEY belongs to this server and environment"
        what += ", and INNGEST_ENV when it is a branch environment."
    else:
        what = "it needs a signing key and none was sent. Set INNGEST_SIGNING_KEY or pass signing_key=."
    message = _message(request, response, action, what)
    return AuthenticationError(message, url=request.endpoint, status=response.status, by_inngest=own)


def _meaning(response: HttpResponse) -> str:
    status = response.status
    if 300 <= status < 400:
        return f"a redirect, which is not followed. {_CHECK_ADDRESS} Is it http for https?"
    if status in (404, 405):
        return f"there is no such endpoint. The path is wrong or this is not an Inngest server. {_CHECK_ADDRESS}"
    if status == 407:
        return "a proxy asks for a user and a password. Write them into its address: http://user:password@host:port."
    if status == 429:
        return f"too many requests. Try again {_later(response)}."
    if status >= 500:
        return f"the server has a problem. Try again {_later(response)}."
    said = _said(response)
    return f"the request was not accepted{f' ({said})' if said else ''}. Is this server's version of Inngest supported?"


def _later(response: HttpResponse) -> str:
    after = response.headers.get("retry-after", "")
    return f"in {after} seconds" if re.fullmatch(r"\d{1,6}", after) else "later"


def _said(response: HttpResponse) -> str:
    """The reason in Inngest's own JSON errors. Any other text might repeat the request, so it is not shown."""
    try:
        reason = msgspec.json.decode(response.content, type=_Error).error
    except msgspec.DecodeError:
        return ""
    return reason[:200] if reason.isprintable() else ""
