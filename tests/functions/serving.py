"""Serves Inngest functions over loopback, with the SDK's own handlers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import fastapi
import flask
import inngest
import inngest.fast_api
import inngest.flask
import uvicorn
from werkzeug.serving import make_server

__all__ = ["SERVERS", "Events", "serve_asgi", "serve_fastapi", "serve_flask", "serve_wsgi"]

Functions = list[inngest.Function[Any]]


@contextlib.contextmanager
def serve_fastapi(client: inngest.Inngest, functions: Functions) -> Iterator[str]:
    """With an event loop: functions that are not async are executed in a pool of threads."""
    app = fastapi.FastAPI()
    inngest.fast_api.serve(app, client, functions)
    with serve_asgi(app) as url:
        yield url


@contextlib.contextmanager
def serve_asgi(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def serve_flask(client: inngest.Inngest, functions: Functions) -> Iterator[str]:
    """With a thread for each request: functions are executed in it."""
    app = flask.Flask("functions")
    inngest.flask.serve(app, client, functions)
    with serve_wsgi(app) as url:
        yield url


@contextlib.contextmanager
def serve_wsgi(app: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


SERVERS = {"fastapi": serve_fastapi, "flask": serve_flask}


class Events:
    """Inngest's event API.

    Attributes:
        received: What was sent to it, in order.
    """

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.arrived = threading.Condition()

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        app = flask.Flask("events")

        @app.post("/e/<key>")
        def take(key: str) -> dict[str, Any]:
            sent = flask.request.get_json()
            with self.arrived:
                self.received += sent
                self.arrived.notify_all()
            return {"ids": ["01JDK3V4Q5W6X7Y8Z9ABCDEFGH"] * len(sent), "status": 200}

        with serve_wsgi(app) as url:
            yield url

    def wait_for(self, name: str, timeout: float = 10) -> dict[str, Any]:
        """The data of the first event of this name."""

        def found() -> dict[str, Any] | None:
            return next((event for event in self.received if event["name"] == name), None)

        with self.arrived:
            event = self.arrived.wait_for(found, timeout)
        assert event is not None, f"no event {name!r}"
        return event
