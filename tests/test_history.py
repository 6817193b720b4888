"""What comes before a subscription: what this process published, over a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from pydantic import AfterValidator
from starlette.applications import Starlette

from conformance.serving import serving
from inngest_realtime_core import (
    AuthenticationError,
    Channel,
    ConfigurationError,
    DataStreamInterruptedError,
    Grant,
    Realtime,
    Replay,
    allow_anyone,
    topic,
)
from inngest_realtime_core.messages.envelope import METADATA_KEY, Envelope
from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.subscriptions.subscription import Subscription
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_starlette import realtime_routes
from talk import eventually, fresh
from test_subscription import cut_off


@pytest.fixture
def channel() -> str:
    return fresh("history")


class Job(Channel, name="historyjob:{id}"):
    id: str
    t = topic(dict[str, int])


async def taken(subscription: Subscription, count: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(count):
        message = await subscription.receive(timeout=5)
        assert message is not None
        found.append(message.data)
    return found


async def test_what_was_published_before_comes_first_and_then_what_is_live(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        for number in range(3):
            await realtime.publish((channel, "t"), number)
        await asyncio.to_thread(realtime.publish_sync, (channel, "u"), "from a thread")
        async with realtime.subscribe(channel=channel, topics=["t", "u"], rewind="all") as late:
            await realtime.publish((channel, "t"), 3)
            assert await taken(late, 5) == [0, 1, 2, "from a thread", 3]
        async with realtime.subscribe(channel=channel, topics=["t", "u"], rewind=1) as latest:
            assert await taken(latest, 2) == ["from a thread", 3]
        async with realtime.subscribe(channel=channel, topics=["t"]) as plain:
            await realtime.publish((channel, "t"), 4)
            assert await taken(plain, 1) == [4]


async def test_a_topic_that_is_asked_for_later_has_a_history(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t", "u"]) as subscription:
            async with aclosing(subscription.get_event_stream()) as page:
                event_id = (await anext(page)).partition(b"id: ")[2].partition(b"\n")[0].decode()
        async with realtime.subscribe(channel=channel, topics=["t"], rewind="all") as other:
            await realtime.publish((channel, "u"), 1)
            await realtime.publish((channel, "t"), 2)
            assert await taken(other, 1) == [2]
            await realtime.publish((channel, "u"), 3)
            async with realtime.subscribe(channel=channel, topics=["t", "u"]) as back:
                async with aclosing(back.get_event_stream(last_event_id=event_id)) as page:
                    blocks = [await anext(page) for _ in range(4)]
            async with realtime.subscribe(channel=channel, topics=["u"], rewind="all") as late:
                await realtime.publish((channel, "u"), 4)
                assert await taken(late, 3) == [1, 3, 4]
        sent = b"".join(blocks).decode()
        assert [json.loads(line[6:])["data"] for line in sent.splitlines() if '"kind":"data"' in line] == [1, 3, 2]


async def test_who_joins_a_data_stream_late_has_all_of_it_or_is_told(server: DevServer, channel: str) -> None:
    more = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield "Hel"
        await more.wait()
        yield "lo"

    async with Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as there:
            publishing = asyncio.create_task(realtime.publish_stream((channel, "t"), text()))
            assert (await taken(there, 2))[1] == "Hel"
            async with (
                realtime.subscribe(channel=channel, topics=["t"]) as plain,
                realtime.subscribe(channel=channel, topics=["t"], rewind=1) as late,
            ):
                more.set()
                await publishing
                start = await late.receive(timeout=5)
                assert start is not None
                assert start.stream is not None
                assert [chunk async for chunk in start.stream] == ["Hel", "lo"]
                assert (await taken(late, 3))[:2] == ["Hel", "lo"]
                kinds = [message.kind for _ in range(3) if (message := await plain.receive(timeout=5)) is not None]
                assert kinds == ["chunk", "datastream-end", "gap"], "its start was before"
            async with realtime.subscribe(channel=channel, topics=["t"], rewind=1) as later:
                start = await later.receive(timeout=5)
                assert start is not None
                assert start.stream is not None
                assert start.stream.ended
                assert [chunk async for chunk in start.stream] == ["Hel", "lo"]


async def test_a_data_stream_that_was_cut_off_is_so_for_who_comes_late(server: DevServer, channel: str) -> None:
    async def text() -> AsyncIterator[str]:
        yield "Hel"
        await asyncio.sleep(60)

    async with Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as there:
            publishing = asyncio.create_task(realtime.publish_stream((channel, "t"), text()))
            assert (await taken(there, 2))[1] == "Hel"
            server.drop_connections()
            publishing.cancel()
            gap = await there.receive(timeout=5)
            assert gap is not None
            assert gap.kind == "gap"
            async with realtime.subscribe(channel=channel, topics=["t"], rewind=1) as late:
                start = await late.receive(timeout=5)
                assert start is not None
                assert start.stream is not None
                text_so_far = aiter(start.stream)
                assert await anext(text_so_far) == "Hel"
                with pytest.raises(DataStreamInterruptedError):
                    await anext(text_so_far)


async def test_the_same_id_is_one_message_within_what_is_kept(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, replay=Replay(max_age=0.5)) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t", "u"]) as subscription:
            for _ in range(3):
                await realtime.publish((channel, "t"), 1, id="same")
            await realtime.publish((channel, "u"), 2, id="same")
            assert await taken(subscription, 2) == [1, 2]
            await asyncio.sleep(0.6)  # older than what is kept
            await realtime.publish((channel, "t"), 3, id="same")
            assert await taken(subscription, 1) == [3]


async def test_what_inngest_rejects_is_not_kept(channel: str) -> None:
    async with DevServer(signing_key="signkey-test-ab12") as server:
        async with Realtime(api_base_url=server.url, signing_key="signkey-test-cd34") as realtime:
            with pytest.raises(AuthenticationError):
                await realtime.publish((channel, "t"), 1)
            with realtime.override(api_base_url=server.url, signing_key="signkey-test-ab12"):
                await realtime.publish((channel, "t"), 2)
                async with realtime.subscribe(channel=channel, topics=["t"], rewind="all") as late:
                    assert await taken(late, 1) == [2]


async def test_a_process_that_publishes_alone_bridges_a_lost_connection(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await realtime.publish((channel, "t"), 1)
            assert await taken(subscription, 1) == [1]
            server.drop_connections()
            for number in range(2, 5):
                await realtime.publish((channel, "t"), number)
            assert await taken(subscription, 3) == [2, 3, 4]


@pytest.mark.parametrize("published", [True, False])
async def test_without_a_record_or_with_others_a_hole_is_a_gap(
    server: DevServer, channel: str, published: bool
) -> None:
    async with Realtime(api_base_url=server.url, replay=Replay(published=published)) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await realtime.publish((channel, "t"), 1)
            if published:
                await server.publish(channel, "t", 2)
            assert await taken(subscription, 1 + published) == [1, 2][: 1 + published]
            server.drop_connections()
            message = await subscription.receive(timeout=5)
            assert message is not None
            assert message.kind == "gap"


@pytest.mark.parametrize("came", ["first", "again"])
async def test_of_two_published_at_once_neither_is_lost_while_the_channel_is_left(
    server: DevServer, channel: str, came: str
) -> None:
    """One of them is on its way for long; a client had the other one, and comes back when nobody knows its log."""
    metadata = msgspec.json.encode({METADATA_KEY: {"id": "slow"}})
    slow = Envelope("data", msgspec.Raw(b'"slow"'), channel, "t", metadata=msgspec.Raw(metadata))
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        record = realtime._sessions.at(realtime.settings).record  # pyright: ignore[reportPrivateUsage]
        if came == "first":
            record.add(slow)
        async with realtime.subscribe(channel=channel, topics=["t"]) as page:
            await realtime.publish((channel, "t"), "quick", id="quick")
            seen, id = await cut_off(page, 1)
            assert seen == ["quick"]
        await eventually(lambda: not realtime.stats().channels)
        if came == "again":
            record.add(slow)
        async with realtime.subscribe(channel=channel, topics=["t"]) as page:
            if came == "again":
                # The same request once more: here it is received before the slow one.
                await realtime.publish((channel, "t"), "quick", id="quick")
                assert await taken(page, 1) == ["quick"]
            assert (await cut_off(page, 1, id))[0] == ["slow"]


async def test_what_is_kept_is_deliverable(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, buffer_size=16, replay=Replay(size=200)) as realtime:
        for number in range(150):
            await realtime.publish((channel, "t"), number)
        async with realtime.subscribe(channel=channel, topics=["t"], rewind="all") as late:
            assert await taken(late, 150) == list(range(150))


async def test_an_event_stream_begins_where_its_subscription_began(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        await realtime.publish((channel, "t"), "before")
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            witness = subscription.get_json_stream()
            await realtime.publish((channel, "t"), "unread")
            first: Message[Any] = await anext(witness)
            assert first.data == "unread"
            async with aclosing(subscription.get_event_stream()) as events:
                await anext(events)
                assert b'"data":"unread"' in await asyncio.wait_for(anext(events), 5)


@pytest.mark.parametrize(
    "wrong", [{"size": -5}, {"max_age": float("nan")}, {"max_bytes": -1}, {"size": 1.5}, {"max_age": "60"}]
)
def test_wrong_limits_are_refused_when_given(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Replay(**wrong)


async def test_endpoints_rewind_where_the_grant_allows_it(server: DevServer) -> None:
    realtime = Realtime(api_base_url=server.url)
    grants = [
        Grant(Job, authorize=allow_anyone, rewind=2),
        Grant(Job, authorize=allow_anyone, name="closed", may_overlap=True),
    ]
    job = Job(id=fresh("job").replace(":", "-"))
    with serving(Starlette(routes=realtime_routes(realtime, grants))) as url:
        async with httpx.AsyncClient(base_url=url) as http, Realtime(api_base_url=server.url) as other:
            refused = await http.get("/closed/stream", params={"id": job.id, "rewind": "1"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "rewind_not_granted")
            for number in range(4):
                await asyncio.to_thread(realtime.publish_sync, job.t, {"n": number})
            async with http.stream("GET", "/job/stream", params={"id": job.id, "rewind": "2"}) as response:
                seen: list[int] = []
                async for line in response.aiter_lines():
                    if line.startswith("data:") and '"kind":"data"' in line:
                        seen.append(json.loads(line[5:])["data"]["n"])
                        if len(seen) == 2:
                            await other.publish(job.t, {"n": 4})
                        if len(seen) == 3:
                            break
            assert seen == [2, 3, 4]
    await asyncio.to_thread(realtime.close_sync)


class Slow(Channel, name="slowhistory:{id}"):
    id: str
    t = topic(Annotated[int, AfterValidator(lambda value: time.sleep(0.002) or value)])


@pytest.mark.parametrize("rewinds", [True, False])
async def test_a_replay_lets_the_event_loop_do_other_things(server: DevServer, rewinds: bool) -> None:
    """Also where nobody has validated before what it gives: 100 messages at 2 ms are not 0.2 s at a stretch."""
    slow = Slow(id=fresh("slow").replace(":", "-"))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel=slow.name, topics=["t"]) as follower:
            async with aclosing(follower.get_event_stream()) as stream:
                after = (await anext(stream)).partition(b"id: ")[2].partition(b"\n")[0].decode()
            for number in range(100):
                await realtime.publish((slow.name, "t"), number)
            await taken(follower, 100)
            turning = asyncio.create_task(turn())
            rewind: Any = "all" if rewinds else None
            async with realtime.subscribe(channel=slow, topics=["t"], rewind=rewind) as late:
                async with aclosing(late.get_event_stream(last_event_id=None if rewinds else after)) as stream:
                    assert b"event: ready" in await anext(stream)
                    began = 0 if rewinds else turns
                    events = (await anext(stream)).split(b"\n\n")
                    assert turns - began >= 20
            turning.cancel()
    assert [json.loads(event.partition(b"data: ")[2].split(b"\n")[0])["data"] for event in events if event] == [
        *range(100)
    ]
