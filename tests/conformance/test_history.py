"""What a page that opens late gets of what came before it, as far as the grant allows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conformance.client import Client, EventStream
from conformance.test_endpoint_errors import check
from inngest_realtime_devserver.server import DevServer


async def publish(inngest: DevServer, run_id: str, topic: str, number: int) -> None:
    data: Any = {"message": str(number)} if topic == "status" else number
    await inngest.publish(f"pipeline:{run_id}", topic, data)


async def read(stream: EventStream, count: int) -> list[tuple[str, int]]:
    """The topics and numbers of the next messages."""
    events = [await stream.next_event() for _ in range(count)]
    assert all(event.id for event in events), "each can be resumed from"
    return [
        (
            event.json["topic"],
            int(event.json["data"]["message"] if event.json["topic"] == "status" else event.json["data"]),
        )
        for event in events
    ]


PUBLISHED = [("status", 0), ("status", 1), ("tokens", 2), ("tokens", 3), ("tokens", 4), ("tokens", 5)]


@pytest.mark.parametrize(
    ("path", "rewind", "expected"),
    [
        ("recent", None, [("status", 0), ("status", 1), ("tokens", 4), ("tokens", 5)]),
        ("recent", "1", [("status", 1), ("tokens", 5)]),
        ("recent", "3", [("status", 0), ("status", 1), ("tokens", 3), ("tokens", 4), ("tokens", 5)]),
        ("history", "all", PUBLISHED),
        ("history", "1", [("status", 1), ("tokens", 5)]),
        ("history", None, []),
        ("pipeline", None, []),
    ],
)
async def test_a_late_page_gets_the_last_of_each_topic(
    client: Client, inngest: DevServer, run_id: str, path: str, rewind: str | None, expected: list[tuple[str, int]]
) -> None:
    wish = {} if rewind is None else {"rewind": rewind}
    async with client.stream("pipeline/stream", runId=run_id) as early:
        for topic, number in PUBLISHED:
            await publish(inngest, run_id, topic, number)
        assert await read(early, len(PUBLISHED)) == PUBLISHED
        async with client.stream(f"{path}/stream", runId=run_id, **wish) as late:
            ready = await late.next_block()
            assert ready.event == "ready"
            await publish(inngest, run_id, "tokens", 6)
            live = ("tokens", 6)
            assert await read(late, len(expected) + 1) == [*expected, live]
        # An EventSource asks for the same again, and says what it has had last: it gets what followed.
        assert ready.id is not None
        async with client.stream(f"{path}/stream", runId=run_id, headers={"Last-Event-ID": ready.id}, **wish) as again:
            seen = await read(again, 1)
            while seen[-1] != live:
                seen += await read(again, 1)
        assert [message for message in seen if message in expected] == expected
        assert len(set(seen)) == len(seen)


async def test_a_page_that_opens_in_the_middle_of_a_data_stream_gets_its_text_so_far(
    client: Client, inngest: DevServer, run_id: str
) -> None:
    more = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield "Hel"
        await more.wait()
        yield "lo"

    async with client.stream("pipeline/stream", runId=run_id) as early:
        publishing = asyncio.create_task(inngest.publish_stream(f"pipeline:{run_id}", "tokens", text()))
        assert [(await early.next_event()).json["kind"] for _ in range(2)] == ["datastream-start", "chunk"]
        async with client.stream("history/stream", runId=run_id, rewind="1") as late:
            assert (await late.next_block()).event == "ready"
            async with client.stream("history/stream", runId=run_id) as plain:
                assert (await plain.next_block()).event == "ready"
                more.set()
                await publishing
                whole = [(await late.next_event()).json for _ in range(4)]
                assert [event["data"] for event in whole] == [whole[0]["streamId"], "Hel", "lo", whole[0]["streamId"]]
                rest = [(await plain.next_event()).json for _ in range(3)]
                assert [event["kind"] for event in rest] == ["chunk", "datastream-end", "gap"]


async def test_a_page_that_asks_for_one_topic_gets_no_other(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as early:
        for topic, number in PUBLISHED:
            await publish(inngest, run_id, topic, number)
        await read(early, len(PUBLISHED))
        async with client.stream("history/stream", runId=run_id, rewind="all", topics="status") as late:
            await publish(inngest, run_id, "status", 6)
            assert await read(late, 3) == [("status", 0), ("status", 1), ("status", 6)]


async def test_an_id_that_was_made_up_rewinds_nothing(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as early:
        ready = await early.next_block()
        for topic, number in PUBLISHED:
            await publish(inngest, run_id, topic, number)
        await read(early, len(PUBLISHED))
        assert ready.id is not None
        log, offset, rest = ready.id.split(".", 2)
        for forged in (f"{log}.{int(offset) - 1}.{rest}", f"~{log}-0", ready.id[:-1] + "-_"[ready.id[-1] == "-"]):
            async with client.stream("pipeline/stream", runId=run_id, headers={"Last-Event-ID": forged}) as stream:
                assert (await stream.next_event()).json["data"]["reason"] == "expired"
                await publish(inngest, run_id, "tokens", 6)
                assert await read(stream, 1) == [("tokens", 6)]
            headers = {"Last-Event-ID": forged}
            async with client.stream("history/stream", runId=run_id, rewind="1", headers=headers) as stream:
                # It is told, and gets what it asks for as if it had sent none.
                assert (await stream.next_event()).json["data"]["reason"] == "expired"
                assert await read(stream, 2) == [("status", 1), ("tokens", 6)]
        # An id of another channel is none of this one.
        async with client.stream("pipeline/stream", runId=f"{run_id}x", headers={"Last-Event-ID": ready.id}) as stream:
            assert (await stream.next_event()).json["data"]["reason"] == "expired"


async def test_pages_that_open_meanwhile_see_no_hole_and_no_repetition(
    client: Client, inngest: DevServer, run_id: str
) -> None:
    count, pages = 120, 4
    opened = asyncio.Event()

    async def publish_all() -> None:
        for number in range(count):
            await publish(inngest, run_id, "tokens", number)
            if number == 5:
                opened.set()

    async def page(part: int) -> list[tuple[str, int]]:
        await asyncio.sleep(0.03 * part)
        async with client.stream("history/stream", runId=run_id, rewind="all") as late:
            return await read(late, count)

    async with client.stream("pipeline/stream", runId=run_id) as early:
        publishing = asyncio.create_task(publish_all())
        await opened.wait()
        for seen in await asyncio.gather(*(page(part) for part in range(pages))):
            assert seen == [("tokens", number) for number in range(count)]
        await publishing
        await read(early, count)


@pytest.mark.parametrize(("path", "wish"), [("recent", "4"), ("recent", "all"), ("pipeline", "1")])
async def test_more_than_the_grant_allows_is_refused(client: Client, run_id: str, path: str, wish: str) -> None:
    check(await client.get(f"{path}/stream", runId=run_id, rewind=wish), 403, "rewind_not_granted", "rewind")


async def test_an_id_is_short_however_many_topics_there_are(client: Client, inngest: DevServer) -> None:
    """It comes back in a header, of which servers take 8 KB at most."""
    async with client.stream("many/stream") as stream:
        for number in range(0, 500, 10):
            await inngest.publish("many", f"topic-{number}", number)
        events = [await stream.next_event() for _ in range(50)]
    assert max(len(event.id or "") for event in events) <= 200
    headers = {"Last-Event-ID": events[20].id or ""}
    async with client.stream("many/stream", headers=headers) as stream:
        await inngest.publish("many", "topic-1", "live")
        seen = [(await stream.next_event()).json["data"] for _ in range(30)]
    assert seen == [*range(210, 500, 10), "live"]


@pytest.mark.parametrize("kind", ["", "other/"])
async def test_a_route_of_ones_own_rewinds(client: Client, inngest: DevServer, run_id: str, kind: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as early:
        for topic, number in PUBLISHED:
            await publish(inngest, run_id, topic, number)
        await read(early, len(PUBLISHED))
        for rewind in ({}, {"rewind": "1"}):
            expected = [("status", 1), ("tokens", 6)] if rewind else []
            async with client.http.stream("GET", f"/own/{run_id}/{kind}stream", params=rewind) as response:
                assert response.status_code == 200
                late = EventStream(response)
                while (await late.next_block()).event != "ready":
                    pass
                await publish(inngest, run_id, "tokens", 6)
                assert await read(late, len(expected) + 1) == [*expected, ("tokens", 6)]
            await read(early, 1)
