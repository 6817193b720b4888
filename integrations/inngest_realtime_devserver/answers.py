"""The HTTP answers of the server: their status, headers and bodies, byte for byte."""

from __future__ import annotations

import http
import json
from typing import NamedTuple

from .tokens import Authority

__all__ = [
    "MAX_HEAD",
    "Answer",
    "bad_upgrade",
    "head_too_large",
    "html_page",
    "json_error",
    "not_authenticated",
    "simulated_failure",
    "text",
    "upgrade_required",
]

MAX_HEAD = 1024 * 1024 + 4096  # bytes of a request line with its headers: the limit of Go's server

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_HTML = (b"content-type", b"text/html; charset=utf-8")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Inngest Realtime development server</title></head>
<body>
<p>This is the embedded Inngest Realtime server, for development and tests only. Its API is under /v1/realtime/.</p>
</body>
</html>
"""


class Answer(NamedTuple):
    """A complete response; Content-Length is added by who sends it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def text(status: int, line: str) -> Answer:
    """One line of plain text."""
    return Answer(status, (_TEXT, (b"x-content-type-options", b"nosniff")), f"{line}\n".encode())


def json_error(status: int, message: str) -> Answer:
    """`{"error":"...","data":null,"status":400}` and a line feed."""
    body = json.dumps({"error": message, "data": None, "status": status}, separators=(",", ":"))
    return Answer(status, (_JSON,), f"{body}\n".encode())


def not_authenticated(authority: Authority, authorization: str) -> Answer:
    """401: plain text where signing keys are required and none was given, else JSON."""
    if authority.allows(authorization):
        return json_error(401, "Not authenticated")
    return text(401, "Authentication failed")


def simulated_failure(status: int) -> Answer:
    """What a request is answered with while the server is told to refuse it."""
    if status == 401:
        return text(401, "Authentication failed")
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = f"Status {status}"
    return json_error(status, phrase)


def bad_upgrade() -> Answer:
    """400: headers of a WebSocket upgrade that are not complete."""
    return text(400, "WebSocket protocol violation: the upgrade request is incomplete")


def upgrade_required() -> Answer:
    """426: a plain GET where only a WebSocket is served."""
    answer = text(426, 'WebSocket protocol violation: Connection header "" does not contain Upgrade')
    return answer._replace(headers=(*answer.headers, (b"connection", b"Upgrade"), (b"upgrade", b"websocket")))


def head_too_large() -> Answer:
    """431: a request line with headers over about 1 MB."""
    return Answer(431, (_TEXT,), b"431 Request Header Fields Too Large")


def html_page() -> Answer:
    """200 with a page: the answer to every path that the server does not know."""
    return Answer(200, (_HTML,), _PAGE.encode())
