"""What WSGI adapters share: a stream occupies a thread, and only a look at the socket tells that its client left."""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, cast

from .._concurrency.background import run_coroutine as run_coroutine
from .._concurrency.threads import greenlets as greenlets
from ..subscriptions.fragments import Render
from ..subscriptions.sync import SyncSubscription, take_over_sync
from .answers import Answer, SyncStreamAnswer, log_stalled
from .request import EndpointRequest
from .routes import gives_messages, not_a_stream
from .wsgi_threads import counted, is_single_threaded, single_threaded

MAX_STREAMS: Final = 16
"""Streams open at once in a process, unless said otherwise. A server needs more threads than that."""

# Where servers keep the client's connection: gunicorn, and the servers of Werkzeug.
_SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")

_MAX_POLL: Final = 2**31 - 1  # milliseconds that a poll of the system can wait
_BLIND: Final = 300.0  # seconds that a stream lasts where nothing tells that its client left


def watched(
    body: Generator[bytes, None, None], environ: Mapping[str, Any], send_timeout: float | None = None
) -> Generator[bytes, None, None]:
    """The body, ended at the first chunk or heartbeat after its client has left, or when it has stopped reading.

    A write to a connection that the other side has closed succeeds; only the next one fails. So the connection is
    looked at before each write, where the server's `environ` has it. Elsewhere the failing write ends the body, and
    `send_timeout` is the server's to have.

    Behind an ASGI server no write fails, ever: there a body ends after five minutes, and clients come back by
    themselves.
    """
    body = counted(body)
    if "asgi.scope" in environ:
        return _until(body, asgi_departure())
    connection: socket.socket | None = next((environ[name] for name in _SOCKETS if name in environ), None)
    return body if connection is None else _watched(body, connection, send_timeout)


def respond(answer: Answer | SyncStreamAnswer, environ: Mapping[str, Any]) -> Answer | SyncStreamAnswer:
    """An endpoint's answer as the server of the request is to send it: a stream is watched, or refused where it would
    be all that the server serves."""
    if isinstance(answer, Answer):
        return answer
    if is_single_threaded(environ):
        answer.body.close()
        return Answer.from_error(single_threaded())
    return replace(answer, body=watched(answer.body, environ, answer.send_timeout))


def event_stream_for(
    content: object, environ: Mapping[str, Any], *, heartbeat: float = 10.0, render: Render | None = None
) -> Generator[bytes, None, None]:
    """The body of a response. It begins where the request says that the client left off.

    Args:
        content: A subscription, or a stream of one that sends bytes.
        render: Makes HTML of a message, or None for none; only of a subscription.

    Raises:
        ConfigurationError: `content` is neither.
        SubscriptionClosedError: The subscription is closed.
    """
    if isinstance(content, SyncSubscription):
        last_event_id = EndpointRequest.from_environ(environ, None).last_event_id
        return take_over_sync(content, heartbeat=heartbeat, last_event_id=last_event_id, render=render)
    if not gives_messages(content) and isinstance(content, Generator):
        return cast("Generator[bytes, None, None]", content)
    raise not_a_stream(content, "realtime.subscribe_sync(...)")


def asgi_departure() -> Callable[[], bool]:
    """Whether a client may have left, where nothing tells: after five minutes, to be on the safe side."""
    deadline = time.monotonic() + _BLIND
    return lambda: time.monotonic() > deadline


def _until(body: Generator[bytes, None, None], left: Callable[[], bool]) -> Generator[bytes, None, None]:
    with closing(body):
        for chunk in body:
            if left():
                return
            yield chunk


def _watched(
    body: Generator[bytes, None, None], connection: socket.socket, send_timeout: float | None
) -> Generator[bytes, None, None]:
    with closing(body), _bounded_sends(connection, send_timeout):
        left = _departure(connection)
        for chunk in body:
            if left():
                return
            if send_timeout is not None and not _is_writable(connection, send_timeout):
                log_stalled(send_timeout)
                # The server would write the end of the response, and block once more.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                return
            yield chunk


@contextmanager
def _bounded_sends(connection: socket.socket, timeout: float | None) -> Generator[None]:
    """A send of a chunk that does not fit blocks for so long at most; it fails then, as that to a client that left."""
    if timeout is None:
        yield
        return
    previous = connection.gettimeout()
    connection.settimeout(timeout)
    try:
        yield
    finally:
        with suppress(OSError):
            connection.settimeout(previous)


def _is_writable(connection: socket.socket, timeout: float) -> bool:
    if greenlets():
        gevent_socket: Any = sys.modules["gevent.socket"]
        try:
            gevent_socket.wait_write(connection.fileno(), timeout)
        except TimeoutError:
            return False
        return True
    if not hasattr(select, "poll"):
        return True
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLOUT)
    return bool(poller.poll(min(timeout * 1000, _MAX_POLL)))


def _departure(connection: socket.socket) -> Callable[[], bool]:
    if not hasattr(select, "poll"):
        return lambda: False
    # gevent's own poll() would wait for the other greenlets, and does not know of closed connections.
    monkey: Any = sys.modules.get("gevent.monkey")
    poll: Any = select.poll if monkey is None else monkey.get_original("select", "poll")
    events = getattr(select, "POLLRDHUP", select.POLLHUP) | select.POLLHUP | select.POLLERR
    poller = poll()
    try:
        poller.register(connection.fileno(), events)
    except (OSError, ValueError):
        return lambda: False

    def left() -> bool:
        return bool(poller.poll(0))

    return left
