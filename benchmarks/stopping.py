"""The applications that the servers of `shutdown` are stopped with: a stream of ours, and one written by hand."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Generator

import flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_flask import realtime_blueprint
from inngest_realtime_starlette import realtime_routes


class Stopping(Channel, name="stopping"):
    status = topic()


_realtime = Realtime(api_base_url=os.environ["BENCHMARK_INNGEST"])
_grants = [Grant(Stopping, topics=["status"], authorize=allow_anyone)]


async def _by_hand(request: Request) -> Response:
    async def body() -> AsyncGenerator[bytes, None]:
        yield b": open\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(body(), media_type="text/event-stream")


asgi = Starlette(
    routes=[Mount("/api/realtime", routes=realtime_routes(_realtime, _grants)), Route("/by-hand", _by_hand)]
)

wsgi = flask.Flask(__name__)
wsgi.register_blueprint(realtime_blueprint(_realtime, _grants), url_prefix="/api/realtime")


@wsgi.get("/by-hand")
def by_hand() -> flask.Response:
    def body() -> Generator[bytes, None, None]:
        yield b": open\n\n"
        while True:
            threading.Event().wait(10)
            yield b": heartbeat\n\n"

    return flask.Response(body(), mimetype="text/event-stream")
