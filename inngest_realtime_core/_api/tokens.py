"""Subscription tokens: asking Inngest for one.

A token opens connections to the topics it names for one minute; a connection, once open, outlives it.
Protocol: `POST /v1/realtime/token`, the response is a 201 with `{"jwt": "..."}`.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import msgspec

from .._telemetry.secret_struct import SecretStruct
from ..settings import Settings
from .claims import read_claims
from .errors_from_status import check_response, unexpected
from .http import HttpRequest, HttpResponse, base_headers, send_signed

_ACTION = "Minting a subscription token"


class _TokenResponse(msgspec.Struct):
    jwt: str


Entry = tuple[str, str]
"""A channel and a topic name."""


class IssuedToken(SecretStruct, frozen=True):
    """A token and the environment it is for."""

    token: str
    env_id: str | None

    def __repr__(self) -> str:
        return f"IssuedToken(env_id={self.env_id!r})"

    @classmethod
    def of(cls, token: str) -> IssuedToken:
        """Read the environment from a token's claims. What cannot be read here is for Inngest to judge."""
        claims = read_claims(token)
        return cls(token, None if claims is None else claims.env_id)


def build_token_request(settings: Settings, entries: Sequence[Entry]) -> HttpRequest:
    """The request for one token that covers `entries`, pairs of a channel's and a topic's name. Not signed yet."""
    topics = [{"channel": channel, "name": topic, "kind": "run"} for channel, topic in entries]
    headers = base_headers(settings, "application/json")
    return HttpRequest("POST", settings.url("token"), headers, msgspec.json.encode(topics), repeatable=True)


def read_token_response(request: HttpRequest, response: HttpResponse) -> str:
    """The JWT in the response.

    Raises:
        AuthenticationError: Inngest refused the signing key.
        UnexpectedResponseError: Any other response that is not a token.
    """
    check_response(request, response, action=_ACTION)
    try:
        token = msgspec.json.decode(response.content, type=_TokenResponse).jwt
    except msgspec.ValidationError:
        token = ""
    except msgspec.DecodeError:
        raise unexpected(request, response, _ACTION, "its content is not JSON. Is this an Inngest server?") from None
    if not token:
        raise unexpected(request, response, _ACTION, 'there is no "jwt" in it. Is this an Inngest server?')
    return token


async def mint(http: httpx.AsyncClient, settings: Settings, entries: Sequence[Entry]) -> str:
    """Ask Inngest for a token that covers `entries`, pairs of a channel's and a topic's name.

    Returns the JWT, valid for one minute.

    Raises:
        ConfigurationError: There is no signing key for Inngest's cloud, or it is malformed.
        AuthenticationError: Inngest refused the signing key, and the fallback key if there is one.
        UnreachableError: No response within 10 seconds, no connection within 5.
        UnexpectedResponseError: A response that is not a token.
    """
    return read_token_response(*await send_signed(http, settings, build_token_request(settings, entries)))
