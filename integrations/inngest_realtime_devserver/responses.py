"""The HTTP responses of the server: their status, headers and bodies."""

from __future__ import annotations

import http
import json

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from .tokens import Authority

__all__ = [
    "ALLOW_ORIGIN",
    "MAX_HEAD",
    "bad_upgrade",
    "head_too_large",
    "html_page",
    "json_error",
    "not_authenticated",
    "not_local",
    "not_served",
    "preflight",
    "simulated_failure",
    "text",
    "too_large",
    "upgrade_required",
]

MAX_HEAD = 1024 * 1024 + 4096  # bytes of a request line with its headers: the limit of Go's server

ALLOW_ORIGIN = (b"access-control-allow-origin", b"*")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Inngest Realtime development server</title></head>
<body>
<p>This is the embedded Inngest Realtime server, for development and tests only. Its API is under /v1/realtime/.</p>
</body>
</html>
"""


def text(status: int, line: str) -> Response:
    """One line of plain text."""
    return PlainTextResponse(f"{line}\n", status, {"x-content-type-options": "nosniff"})


def json_error(status: int, message: str) -> Response:
    """`{"error":"...","data":null,"status":400}` and a line feed."""
    body = json.dumps({"error": message, "data": None, "status": status}, separators=(",", ":"))
    return Response(f"{body}\n", status, media_type="application/json")


def not_authenticated(authority: Authority, authorization: str) -> Response:
    """401: plain text where signing keys are required and none was given, else JSON."""
    if authority.allows(authorization):
        return json_error(401, "Not authenticated")
    return text(401, "Authentication failed")


def simulated_failure(status: int) -> Response:
    """The response to a request that the server was told to reject."""
    if status == 401:
        return text(401, "Authentication failed")
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = f"Status {status}"
    return json_error(status, phrase)


def bad_upgrade() -> Response:
    """400: headers of a WebSocket upgrade that are not complete."""
    return text(400, "WebSocket protocol violation: the upgrade request is incomplete")


def upgrade_required() -> Response:
    """426: a plain GET where only a WebSocket is served."""
    response = text(426, 'WebSocket protocol violation: Connection header "" does not contain Upgrade')
    response.headers.update({"connection": "Upgrade", "upgrade": "websocket"})
    return response


def head_too_large() -> Response:
    """431: a request line with headers over about 1 MB."""
    return PlainTextResponse("431 Request Header Fields Too Large", 431)


def not_served(path: str) -> Response:
    """404 for what the embedded server has no part of, such as events, which client libraries show as `error`."""
    return json_error(
        404,
        f"The embedded Inngest Realtime server does not serve {path[:200]}: it has the Realtime API only. For "
        "events and functions run the Inngest dev server: npx inngest-cli@latest dev",
    )


def not_local(host: str) -> Response:
    """403: a request that did not come from this machine, or from a page of it."""
    return json_error(
        403,
        f"The embedded Inngest Realtime server is for this machine only: Host and Origin must be loopback, and Host is "
        f"{host[:200]!r}. Start it with --allow-remote (allow_remote=True) to let others in.",
    )


def too_large(what: str) -> Response:
    """413: more than any client can use."""
    return json_error(413, f"The request is too large: {what}.")


def preflight(requested_headers: str) -> Response:
    """200 for a browser that asks whether a page may call."""
    headers = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": requested_headers or "content-type, authorization",
    }
    return Response(headers=headers)


def html_page() -> Response:
    """200 with a page that says what this is, for those who open the address in a browser."""
    return HTMLResponse(_PAGE)
