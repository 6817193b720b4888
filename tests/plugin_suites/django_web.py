"""Event streams of a Django project through Django's own test clients, with pytest-django."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from application import Pipeline, Status, realtime
from django.test import AsyncClient, Client

from inngest_realtime_core import ConfigurationError
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import event_stream, event_stream_sync

CHANNEL = Pipeline(run_id="r1")
PATH = "/api/realtime/pipeline/stream"
PARAMS = {"runId": "r1", "topics": ["status"]}


@pytest.fixture(autouse=True)
def override(inngest_realtime_server: DevServer) -> Iterator[None]:
    with realtime.override(api_base_url=inngest_realtime_server.url):
        yield


@pytest.mark.django_db
def test_client(client: Client) -> None:
    with event_stream_sync(client, PATH, params=PARAMS) as events:
        assert (events.status, events.receive()[0].event) == (200, "ready")
        realtime.publish_sync(CHANNEL.status, Status(message="x"))
        assert events.receive()[0].json()["data"] == {"message": "x"}
    with event_stream_sync(client, PATH, params={"runId": "r1", "topics": ["nope"]}) as events:
        assert events.status == 403
        assert b"error" in events.read()


async def test_async_client(async_client: AsyncClient) -> None:
    async with event_stream(async_client, PATH, params=PARAMS) as events:
        assert (events.status, (await events.receive())[0].event) == (200, "ready")
        with pytest.raises(TimeoutError, match="0 of 1 events"):
            await events.receive(timeout=0.02)
        await realtime.publish(CHANNEL.status, Status(message="x"))
        assert (await events.receive())[0].json()["data"] == {"message": "x"}
    async with event_stream(async_client, PATH, params={"runId": "r1", "topics": ["nope"]}) as events:
        assert events.status == 403
        assert b"error" in await events.read()


async def test_a_sync_client_in_an_async_helper(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"go to event_stream_sync\(\)"):
        async with event_stream(client, PATH):
            pass
