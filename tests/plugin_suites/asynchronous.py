"""Tests as users write them, with async functions."""

from __future__ import annotations

import pytest
from application import Pipeline, Status, realtime

from inngest_realtime_core import Realtime
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import parse_events, receive

pytestmark = pytest.mark.MARK  # replaced by the plugin's own mark
CHANNEL = Pipeline(run_id="r1")


async def test_messages(inngest_realtime: Realtime, inngest_realtime_server: DevServer) -> None:
    assert inngest_realtime_server.published() == []
    async with inngest_realtime.subscribe(channel=CHANNEL) as stream:
        events = stream.get_event_stream()
        chunks = [await anext(events)]
        await inngest_realtime.publish(CHANNEL.status, Status(message="x"))
        chunks.append(await anext(events))
        assert [event.event for event in parse_events(chunks)] == ["ready", "message"]
        assert [message.data for message in await receive(stream)] == [Status(message="x")]
        await events.aclose()
    assert len(inngest_realtime_server.published(CHANNEL)) == 1


@pytest.mark.parametrize("round", [1, 2])
async def test_what_is_left_open_is_closed(inngest_realtime: Realtime, round: int) -> None:
    await inngest_realtime.subscribe(channel="c", topics=["t"])
    await inngest_realtime.publish(("c", "t"), 1)


async def test_an_application_that_leaves_all_open(inngest_realtime_server: DevServer) -> None:
    with realtime.override(api_base_url=inngest_realtime_server.url):
        stream = await realtime.subscribe(channel=CHANNEL)
        await realtime.publish(CHANNEL.status, Status(message="x"))
        assert [message.data for message in await receive(stream)] == [Status(message="x")]


async def test_faults(inngest_realtime: Realtime, inngest_realtime_server: DevServer) -> None:
    async with inngest_realtime.subscribe(channel=CHANNEL) as stream:
        inngest_realtime_server.drop_connections()
        (message,) = await receive(stream)
        assert message.kind == "gap"
