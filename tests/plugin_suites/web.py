"""Event streams of FastAPI, Starlette and Flask through their own test clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from application import Pipeline, Status, grants, realtime
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask

from inngest_realtime_core import ConfigurationError
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import event_stream, event_stream_sync
from inngest_realtime_fastapi import realtime_router
from inngest_realtime_flask import realtime_blueprint

PATH = "/api/realtime/pipeline/stream"


@pytest.fixture(autouse=True)
def override(inngest_realtime_server: DevServer) -> Iterator[None]:
    with realtime.override(api_base_url=inngest_realtime_server.url):
        yield


def fastapi_app() -> FastAPI:
    app = FastAPI()
    app.include_router(realtime_router(realtime, grants, heartbeat=0.2), prefix="/api/realtime")
    return app


def check(client: Any) -> None:
    channel = Pipeline(run_id="r1")
    with event_stream_sync(client, PATH, params={"runId": "r1", "topics": "status"}) as events:
        assert events.status == 200
        assert events.headers["content-type"].startswith("text/event-stream")
        (ready,) = events.receive()
        assert ready.event == "ready"
        realtime.publish_sync(channel.status, Status(message="x"))
        (event,) = events.receive()
        assert event.json()["data"] == {"message": "x"}
        with pytest.raises(TimeoutError, match=r"0 of 1 events came within 0\.05 s"):
            events.receive(timeout=0.05)
    with event_stream_sync(
        client, PATH, params={"runId": "r1", "topics": "status"}, headers={"Last-Event-ID": event.id or ""}
    ) as events:
        (ready,) = events.receive()
        assert ready.event == "ready"
    with event_stream_sync(client, PATH, params={"runId": "r1", "topics": "nope"}) as events:
        assert events.status == 403
        assert b"error" in events.read()
        with pytest.raises(EOFError, match=r"The response \(403\) ended after 0 of 1"):
            events.receive()


def test_fastapi() -> None:
    with TestClient(fastapi_app()) as client:
        check(client)


def test_fastapi_without_lifespan() -> None:
    check(TestClient(fastapi_app()))


def test_flask() -> None:
    app = Flask("shop")
    app.register_blueprint(realtime_blueprint(realtime, grants, heartbeat=0.2), url_prefix="/api/realtime")
    check(app.test_client())


async def opened(client: Any) -> None:
    async with event_stream(client, PATH):
        pass


async def test_what_cannot_stream_is_said() -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(fastapi_app()), base_url="http://shop") as client:
        with pytest.raises(ConfigurationError, match="ASGITransport collects the whole response"):
            await opened(client)
    with pytest.raises(ConfigurationError, match=r"synchronous go to event_stream_sync\(\)"):
        await opened(TestClient(fastapi_app()))
    async with httpx.AsyncClient() as client:
        with (
            pytest.raises(ConfigurationError, match=r"asynchronous go to event_stream\(\)"),
            event_stream_sync(client, PATH),
        ):
            pass
