"""What the endpoints answer, before a framework makes its own response of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field

import msgspec

from .._api.client_token import ClientSubscriptionToken
from .._telemetry.throttled_log import ThrottledLog
from ..errors import RealtimeError
from ..subscriptions.sse import EVENT_STREAM_HEADERS, MEDIA_TYPE
from .errors import EndpointError

_log = ThrottledLog(logging.getLogger("inngest_realtime.endpoints"))

_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def stream_headers() -> dict[str, str]:
    """The headers of every event stream, the type included: not cached, not transformed, not buffered."""
    return {"Content-Type": MEDIA_TYPE, **EVENT_STREAM_HEADERS}


def log_stalled(send_timeout: float | None) -> None:
    """Logs that a client has stopped reading; a crowd of them makes one line."""
    _log.write(
        logging.INFO,
        "stream.stalled",
        f"A client read nothing for {send_timeout} s; its event stream is ended.",
        event="stream.stalled",
    )


@dataclass(frozen=True)
class Answer:
    """A complete response: JSON, of a token or of an endpoint error.

    Attributes:
        status: The HTTP status.
        headers: All of them, `Content-Type` included.
        body: Its bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @classmethod
    def from_error(cls, error: RealtimeError) -> Answer:
        """The response to an error: its status, and JSON that says why."""
        error = EndpointError.of(error)
        return cls(error.status, {**_JSON, **error.headers}, error.body)

    @classmethod
    def options(cls, allow: str) -> Answer:
        """The response to OPTIONS: which methods there are."""
        return cls(204, {"Allow": allow}, b"")

    @classmethod
    def from_token(cls, token: ClientSubscriptionToken, *, full: bool = False) -> Answer:
        """200 and `{"key": "...", "apiBaseUrl": "..."}`, what `useRealtime` takes.

        Args:
            full: With `channel` and `topics` beside them, as older SDKs expect it.
        """
        return cls(200, _JSON, msgspec.json.encode(token.to_dict(full=full)))


@dataclass(frozen=True)
class StreamAnswer:
    """An open event stream: status 200, and a body that has already started, so that it needs no first `anext` to
    be cleaned up. Close it (`await body.aclose()`) or exhaust it; one that is dropped frees its subscription too.

    Attributes:
        body: The bytes of the response.
        send_timeout: Seconds that sending one of its chunks may block; None for no limit.
        status: The HTTP status.
        headers: All of them, `Content-Type` included.
    """

    body: AsyncGenerator[bytes, None]
    send_timeout: float | None = 30.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=stream_headers)


@dataclass(frozen=True)
class SyncStreamAnswer:
    """The sync twin of `StreamAnswer`: `body` is a plain generator, which WSGI servers close themselves."""

    body: Generator[bytes, None, None]
    send_timeout: float | None = 30.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=stream_headers)
