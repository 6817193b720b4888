"""The applications that are compared: each serves one channel as server-sent events, on one uvicorn worker.

`python -m benchmarks.site <ours|starlette|sse-starlette|server> <Inngest's URL>` prints the port that it listens on.

The others receive through a bare `websockets` client and read each message once. Two put the event that they made of it
into an `asyncio.Queue` for each browser: what one would write by hand. `server` is no application at all: the receiver
itself calls each browser's `send`, so that what is left is the cost of the server, which nobody can go below.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import connect

from inngest_realtime_core import Channel, Realtime, topic
from inngest_realtime_starlette import Grant, allow_anyone, realtime_routes

from .firehose import CHANNEL

PATH = "/api/realtime/bench/stream"


class Bench(Channel, name=CHANNEL):
    status = topic()


def ours(inngest: str) -> Starlette:
    """The application that uses this project."""
    realtime = Realtime(api_base_url=inngest, linger=0)
    grants = [Grant(Bench, topics=["status"], authorize=allow_anyone)]
    return Starlette(routes=[Mount("/api/realtime", routes=realtime_routes(realtime, grants))])


class _Relay:
    """A hand-written fan-out: one receiver, a queue for each browser."""

    def __init__(self, inngest: str, *, ready_made: bool) -> None:
        self._url = inngest.replace("http", "ws", 1) + "/v1/realtime/connect?token=x"
        self._ready_made = ready_made
        self.queues: set[asyncio.Queue[Any]] = set()
        self._connected = asyncio.Event()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        task = asyncio.create_task(self._receive())
        await self._connected.wait()
        yield
        task.cancel()

    async def _receive(self) -> None:
        async with connect(self._url) as websocket:
            await (await websocket.ping())
            self._connected.set()
            async for frame in websocket:
                message = json.loads(frame)
                text = json.dumps({name: message[name] for name in ("channel", "topic", "data", "run_id", "kind")})
                # With an id, as our own events have one.
                number = message["created_at"]
                event: Any = f"id: {number}\ndata: {text}\n\n".encode() if self._ready_made else (number, text)
                await self.deliver(event)

    async def deliver(self, event: Any) -> None:
        for queue in self.queues:
            queue.put_nowait(event)


def by_starlette(inngest: str) -> Starlette:
    """The application that uses Starlette alone."""
    relay = _Relay(inngest, ready_made=True)

    async def stream(request: Request) -> Response:
        async def body() -> AsyncGenerator[bytes, None]:
            queue: asyncio.Queue[bytes] = asyncio.Queue()
            relay.queues.add(queue)
            try:
                yield b": open\n\n"
                while True:
                    yield await queue.get()
            finally:
                relay.queues.discard(queue)

        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route(PATH, stream)], lifespan=relay.lifespan)


def by_sse_starlette(inngest: str) -> Starlette:
    """The application that uses sse-starlette."""
    relay = _Relay(inngest, ready_made=False)

    async def stream(request: Request) -> Response:
        async def body() -> AsyncGenerator[ServerSentEvent, None]:
            queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
            relay.queues.add(queue)
            try:
                yield ServerSentEvent(comment="open")
                while True:
                    number, text = await queue.get()
                    yield ServerSentEvent(data=text, id=number)
            finally:
                relay.queues.discard(queue)

        return EventSourceResponse(body())

    return Starlette(routes=[Route(PATH, stream)], lifespan=relay.lifespan)


class _Direct(_Relay):
    """No fan-out but a loop: every event is sent by the task that received it, and no other is woken."""

    def __init__(self, inngest: str) -> None:
        super().__init__(inngest, ready_made=True)
        self._sends: set[Send] = set()

    async def deliver(self, event: Any) -> None:
        for send in self._sends:
            await send({"type": "http.response.body", "body": event, "more_body": True})

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        self._sends.add(send)
        while (await receive())["type"] != "http.disconnect":
            pass
        self._sends.discard(send)


def by_the_server(inngest: str) -> Starlette:
    """The application that leaves everything to the server."""
    direct = _Direct(inngest)

    async def stream(request: Request) -> ASGIApp:
        return direct.stream

    return Starlette(routes=[Route(PATH, stream)], lifespan=direct.lifespan)


APPLICATIONS = {"ours": ours, "starlette": by_starlette, "sse-starlette": by_sse_starlette}
SITES = {**APPLICATIONS, "server": by_the_server}


def main(name: str, inngest: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(SITES[name](inngest), log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
