"""What WSGI adapters share: a stream occupies a thread, and only a look at the socket tells that its client left."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Final

__all__ = ["MAX_STREAMS", "asgi_departure", "watched"]

MAX_STREAMS: Final = 16
"""Streams open at once in a process, unless said otherwise. A server needs more threads than that."""

# Where servers keep the client's connection: gunicorn, and the servers of Werkzeug.
_SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")

_BLIND: Final = 300.0  # seconds that a stream lasts where nothing tells that its client left


def watched(body: Generator[bytes, None, None], environ: Mapping[str, Any]) -> Generator[bytes, None, None]:
    """The body, ended at the first chunk or heartbeat after its client has left.

    A write to a connection that the other side has closed succeeds; only the next one fails. So the connection is
    looked at before each write, where the server's `environ` has it. Elsewhere the failing write ends the body.

    Behind an ASGI server no write fails, ever: there a body ends after five minutes, and clients come back by
    themselves.
    """
    left = _departure(environ)
    return body if left is None else _watched(body, left)


def _watched(body: Generator[bytes, None, None], left: Callable[[], bool]) -> Generator[bytes, None, None]:
    with closing(body):
        for chunk in body:
            if left():
                return
            yield chunk


def asgi_departure() -> Callable[[], bool]:
    """Whether a client may have left, where nothing tells: after five minutes, to be on the safe side."""
    deadline = time.monotonic() + _BLIND
    return lambda: time.monotonic() > deadline


def _departure(environ: Mapping[str, Any]) -> Callable[[], bool] | None:
    if "asgi.scope" in environ:
        return asgi_departure()
    connection = next((environ[name] for name in _SOCKETS if name in environ), None)
    if connection is None or not hasattr(select, "poll"):
        return None
    # gevent's own poll() would wait for the other greenlets, and does not know of closed connections.
    monkey: Any = sys.modules.get("gevent.monkey")
    poll: Any = select.poll if monkey is None else monkey.get_original("select", "poll")
    events = getattr(select, "POLLRDHUP", select.POLLHUP) | select.POLLHUP | select.POLLERR
    poller = poll()
    try:
        poller.register(connection.fileno(), events)
    except (OSError, ValueError):
        return None

    def left() -> bool:
        return bool(poller.poll(0))

    return left
