"""Event streams of an application under test, through the test client of its framework.

    with event_stream_sync(client, "/api/realtime/pipeline/stream", params={"runId": "r1"}) as events:
        (ready,) = events.receive()
        run_pipeline("r1")
        (event,) = events.receive()

`event_stream_sync` takes Starlette's and FastAPI's `TestClient`, Django's `Client`, Flask's `test_client()` and an
`httpx.Client`; `event_stream` takes Django's `AsyncClient` and an `httpx.AsyncClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import Any

from .events import Event, EventParser

__all__ = ["EventStream", "SyncEventStream", "event_stream", "event_stream_sync"]

_SOCKETS = "Run the application on a socket (uvicorn in a thread) and pass an httpx.AsyncClient with its address"


class _Response:
    """What the two kinds of event streams have in common.

    Attributes:
        status: The response's status.
        headers: Its headers, in lower case.
    """

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers: dict[str, str] = {name.lower(): value for name, value in headers.items()}
        self._parser = EventParser()
        self._events: list[Event] = []

    def _take(self, count: int) -> list[Event]:
        taken, self._events = self._events[:count], self._events[count:]
        return taken

    def _too_few(self, count: int, timeout: float) -> TimeoutError:
        return TimeoutError(f"{len(self._events)} of {count} events came within {timeout} s: {self._events!r}.")

    def _ended(self, count: int) -> EOFError:
        return EOFError(
            f"The response ({self.status}) ended after {len(self._events)} of {count} events: {self._events!r}."
        )


class SyncEventStream(_Response):
    """An open response, its events read one after the other. Iterate it, or ask with `receive`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Iterator[bytes]) -> None:
        super().__init__(status, headers)
        self._body = body

    def receive(self, count: int = 1, *, timeout: float = 5.0) -> list[Event]:
        """The next `count` events; `ready` is the first of a stream.

        Args:
            timeout: Seconds for all of them together. It is looked at whenever something arrives, be it a heartbeat:
                test clients of synchronous frameworks cannot be interrupted.

        Raises:
            TimeoutError: They did not come in time; the message says what did come.
            EOFError: The response ended before.
        """
        deadline = time.monotonic() + timeout
        while len(self._events) < count:
            if time.monotonic() > deadline:
                raise self._too_few(count, timeout)
            piece = next(self._body, None)
            if piece is None:
                raise self._ended(count)
            self._events += self._parser.feed(piece)
        return self._take(count)

    def read(self) -> bytes:
        """The rest of the body: of a response that is an error and ends."""
        return b"".join(self._body)

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                yield from self.receive(timeout=float("inf"))
            except EOFError:
                return


class EventStream(_Response):
    """An open response, its events read one after the other. Iterate it, or ask with `receive`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: AsyncIterator[bytes]) -> None:
        super().__init__(status, headers)
        self._body = body
        self._reading: asyncio.Task[bytes | None] | None = None

    async def receive(self, count: int = 1, *, timeout: float = 5.0) -> list[Event]:
        """The next `count` events; `ready` is the first of a stream.

        Args:
            timeout: Seconds for all of them together. A timeout loses nothing.

        Raises:
            TimeoutError: They did not come in time; the message says what did come.
            EOFError: The response ended before.
        """
        deadline = time.monotonic() + timeout
        while len(self._events) < count:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            done, _ = await asyncio.wait([self._reading], timeout=max(deadline - time.monotonic(), 0.0))
            if not done:
                raise self._too_few(count, timeout)
            piece = self._reading.result()
            self._reading = None
            if piece is None:
                raise self._ended(count)
            self._events += self._parser.feed(piece)
        return self._take(count)

    async def read(self) -> bytes:
        """The rest of the body: of a response that is an error and ends."""
        return b"".join([piece async for piece in self._body])

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            try:
                (event,) = await self.receive(timeout=3_600.0)
            except EOFError:
                return
            yield event

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
            self._reading = None

    async def _read(self) -> bytes | None:
        return await anext(self._body, None)


@contextlib.contextmanager
def event_stream_sync(
    client: Any, url: str, *, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Generator[SyncEventStream, None, None]:
    """Open an event stream with a synchronous test client: Starlette's, FastAPI's, Django's, Flask's, `httpx.Client`.

    Args:
        client: The framework's own test client; its cookies and logged-in user count.
        url: The path, or for `httpx.Client` the address.
        params: Added to the query; a list gives a name several times.
        headers: Added to the request, such as `{"Last-Event-ID": id}`.

    Raises:
        ConfigurationError: This client cannot stream; the message says what to use.
    """
    kind = _kind_of(client)
    if kind == "httpx":
        _refuse_old_testclient(client)
        with client.stream("GET", url, params=params, headers=headers) as response:
            yield SyncEventStream(response.status_code, response.headers, response.iter_bytes())
    elif kind == "django":
        response = client.get(url, dict(params or {}), headers=dict(headers or {}))
        with contextlib.closing(response):
            yield SyncEventStream(response.status_code, response.headers, _sync_body(response))
    elif kind == "werkzeug":
        response = client.get(url, query_string=dict(params or {}), headers=dict(headers or {}))
        with contextlib.closing(response):
            yield SyncEventStream(response.status_code, response.headers, iter(response.iter_encoded()))
    else:
        raise _unsuitable(client, "event_stream_sync", "event_stream")


@contextlib.asynccontextmanager
async def event_stream(
    client: Any, url: str, *, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> AsyncGenerator[EventStream, None]:
    """Open an event stream with an asynchronous test client: Django's `AsyncClient`, or `httpx.AsyncClient`.

    Args:
        client: The client; its cookies and logged-in user count.
        url: The path, or for `httpx.AsyncClient` the address.
        params: Added to the query; a list gives a name several times.
        headers: Added to the request, such as `{"Last-Event-ID": id}`.

    Raises:
        ConfigurationError: This client cannot stream; the message says what to use.
    """
    kind = _kind_of(client)
    if kind == "httpx-async":
        async with client.stream("GET", url, params=params, headers=headers) as response:
            async with _reading(EventStream(response.status_code, response.headers, response.aiter_bytes())) as stream:
                yield stream
    elif kind == "django-async":
        response = await client.get(url, dict(params or {}), headers=dict(headers or {}))
        body = _async_body(response)
        try:
            async with _reading(EventStream(response.status_code, response.headers, body)) as stream:
                yield stream
        finally:
            await body.aclose()
            await asyncio.to_thread(response.close)
    else:
        raise _unsuitable(client, "event_stream", "event_stream_sync")


@contextlib.asynccontextmanager
async def _reading(stream: EventStream) -> AsyncGenerator[EventStream, None]:
    try:
        yield stream
    finally:
        await stream.aclose()


def _sync_body(response: Any) -> Iterator[bytes]:
    if not response.streaming:
        return iter([response.content])
    if response.is_async:
        raise _error(
            "Django's Client got a response that streams asynchronously, which it can only read to its end. Use "
            "django.test.AsyncClient with event_stream."
        )
    return iter(response.streaming_content)


async def _async_body(response: Any) -> AsyncGenerator[bytes, None]:
    if not response.streaming:
        yield response.content
    elif not response.is_async:
        raise _error(
            "Django's AsyncClient got a response that streams synchronously, which it can only read to its end. Use "
            "django.test.Client with event_stream_sync."
        )
    else:
        content = response.streaming_content
        try:
            async for piece in content:
                yield piece
        finally:
            await content.aclose()


def _kind_of(client: object) -> str | None:
    for each in type(client).__mro__:
        package = each.__module__.partition(".")[0]
        if package == "django" and each.__name__ in ("AsyncClient", "Client"):
            return "django-async" if each.__name__ == "AsyncClient" else "django"
        if package == "werkzeug" and each.__name__ == "Client":
            return "werkzeug"
        if package in ("httpx", "httpx2") and each.__name__ == "Client":
            return "httpx"
        if package in ("httpx", "httpx2") and each.__name__ == "AsyncClient":
            transport = getattr(client, "_transport", None)
            if type(transport).__name__ == "ASGITransport":
                raise _error(
                    "httpx.ASGITransport collects the whole response before it returns it, and an event stream has no "
                    f"end. Use Starlette's TestClient with event_stream_sync. Or: {_SOCKETS}."
                )
            return "httpx-async"
    return None


def _refuse_old_testclient(client: Any) -> None:
    transport = getattr(client, "_transport", None)
    if type(transport).__name__ == "_TestClientTransport" and not hasattr(transport, "_open_requests"):
        raise _error(
            "The TestClient of this version of Starlette collects the whole response before it returns it, and an "
            f"event stream has no end. Upgrade Starlette. Or: {_SOCKETS}."
        )


def _unsuitable(client: object, asked: str, other: str) -> Exception:
    return _error(
        f"{asked}() cannot read an event stream with {type(client).__module__}.{type(client).__qualname__}. Expected a "
        f"test client of Starlette, FastAPI, Django or Flask, or one of httpx; those that are "
        f"{'asynchronous' if other == 'event_stream' else 'synchronous'} go to {other}()."
    )


def _error(text: str) -> Exception:
    from inngest_realtime_core.errors import ConfigurationError

    return ConfigurationError(text)
