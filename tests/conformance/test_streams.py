from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time

import pytest

from conformance.client import Client, EventStream
from conformance.servers import RunningServer
from inngest_realtime_devserver.server import DevServer


async def test_the_headers_of_a_stream(client: Client, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        headers = stream.response.headers
    assert headers["content-type"] == "text/event-stream"
    assert {"no-cache", "no-transform"} <= set(re.split(r",\s*", headers["cache-control"]))
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers
    assert "content-encoding" not in headers


async def test_the_first_bytes_come_at_once(client: Client, run_id: str) -> None:
    began = time.monotonic()
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        first = await stream.next_block()
        assert time.monotonic() - began < 1.0
        assert first.retry is not None
        assert first.event == "ready"
        assert first.json == {"kind": "ready", "channel": f"pipeline:{run_id}", "topics": ["status", "tokens"]}
        assert first.id


async def test_a_client_that_is_cut_off_before_its_first_event(client: Client, inngest: DevServer, run_id: str) -> None:
    """It comes back with the id of the preamble, as EventSource does, and has missed nothing."""
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        preamble = await stream.next_block()
    assert preamble.id is not None
    await inngest.publish(f"pipeline:{run_id}", "tokens", "while it was away")
    async with client.stream("pipeline/stream", runId=run_id, headers={"Last-Event-ID": preamble.id}) as stream:
        event = await stream.next_event()
    assert event.data is not None
    assert json.loads(event.data)["data"] == "while it was away"


async def test_heartbeats_are_comments_without_an_id(client: Client) -> None:
    async with client.stream("news/stream") as stream:
        await stream.next_block()
        began = time.monotonic()
        beats = [await stream.next_block() for _ in range(3)]
    assert all(beat.comment and beat.data is None and beat.id is None for beat in beats)
    assert 0.3 < time.monotonic() - began < 2.0  # the grant's own 0.2 s, not the server's


async def test_heartbeats_come_as_often_as_the_options_say(client: Client, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await stream.next_block()
        began = time.monotonic()
        assert (await stream.next_block()).comment
    assert 0.3 < time.monotonic() - began < 3.0  # 0.5 s here, and 10 by default


async def test_a_message_is_the_json_of_the_typescript_sdk(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(
            f"pipeline:{run_id}",
            "tokens",
            b'{"n":2.50,"big":12345678901234567890}',
            run_id="01JZ00000000000000000000ZZ",
        )
        event = await stream.next_event()
    assert event.event is None
    assert event.id
    assert event.data is not None
    expected = (
        f'{{"channel":"pipeline:{run_id}","topic":"tokens","data":{{"n":2.50,"big":12345678901234567890}},'
        f'"createdAt":"{event.json["createdAt"]}","runId":"01JZ00000000000000000000ZZ",'
        f'"kind":"data","envId":"{event.json["envId"]}"}}'
    )
    assert event.data == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.json["createdAt"])


async def test_only_the_topics_asked_for_arrive(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id, topics="tokens") as stream:
        for topic in ("audit", "status", "tokens"):
            await inngest.publish(f"pipeline:{run_id}", topic, {"message": topic})
        assert (await stream.next_event()).json["topic"] == "tokens"


async def test_data_is_what_its_schema_makes_of_it(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(f"pipeline:{run_id}", "status", {"message": 5})
        await inngest.publish(f"pipeline:{run_id}", "status", {"message": "half", "step": "b", "unknown": 1})
        assert (await stream.next_event()).json["data"] == {"message": "half", "step": "b"}


@pytest.mark.parametrize(
    "data",
    ["zażółć 🦄", "line\nbreak\r\n\u2028\u2029\x85", "</script>&", [None, True, {"ключ": "значение"}], "", 0, {}],
    ids=repr,
)
async def test_any_json_survives(client: Client, inngest: DevServer, run_id: str, data: object) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(f"pipeline:{run_id}", "tokens", data)
        event = await stream.next_event()
    assert event.json["data"] == data
    assert event.raw.count(b"\n") == 1  # `id:` and one `data:`


async def test_a_large_message(client: Client, inngest: DevServer, run_id: str) -> None:
    text = "0123456789abcdef" * (512 * 64 - 1)  # just under 512 KiB with its quotes
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(f"pipeline:{run_id}", "tokens", text)
        assert (await stream.next_event()).json["data"] == text


async def test_a_data_stream(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish_stream(f"pipeline:{run_id}", "tokens", ["Hello ", "world"])
        messages = [(await stream.next_event()).json for _ in range(4)]
    assert [message["kind"] for message in messages] == ["datastream-start", "chunk", "chunk", "datastream-end"]
    assert [message["data"] for message in messages[1:3]] == ["Hello ", "world"]
    assert len({message["streamId"] for message in messages}) == 1


async def test_many_streams_at_once(client: Client, inngest: DevServer, run_id: str) -> None:
    async with contextlib.AsyncExitStack() as stack:

        async def listen(stream_of: int) -> EventStream:
            own = f"{run_id}-{stream_of % 10}"
            stream = await stack.enter_async_context(client.stream("pipeline/stream", runId=own))
            await stream.next_block()
            return stream

        streams = await asyncio.gather(*(listen(number) for number in range(50)))
        for number in range(10):
            await inngest.publish(f"pipeline:{run_id}-{number}", "tokens", number)
        events = await asyncio.gather(*(stream.next_event() for stream in streams))
    assert [event.json["data"] for event in events] == [number % 10 for number in range(50)]


async def test_a_client_that_comes_back_misses_nothing(client: Client, inngest: DevServer, run_id: str) -> None:
    channel = f"pipeline:{run_id}"
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(channel, "tokens", 1)
        last = await stream.next_event()
    await inngest.publish(channel, "tokens", 2)
    assert last.id is not None
    async with client.stream("pipeline/stream", runId=run_id, headers={"Last-Event-ID": last.id}) as stream:
        await inngest.publish(channel, "tokens", 3)
        events = [await stream.next_event() for _ in range(2)]
    assert [event.json["data"] for event in events] == [2, 3]
    assert last.id not in {event.id for event in events}


async def test_a_client_that_cannot_set_headers_comes_back(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(f"pipeline:{run_id}", "tokens", 1)
        last = await stream.next_event()
    await inngest.publish(f"pipeline:{run_id}", "tokens", 2)
    async with client.stream("pipeline/stream", runId=run_id, lastEventId=last.id) as stream:
        assert (await stream.next_event()).json["data"] == 2


async def test_a_client_that_comes_back_too_late_is_told(client: Client, inngest: DevServer, run_id: str) -> None:
    for unknown in ("no-such-event", "x" * 5000):
        async with client.stream("pipeline/stream", runId=run_id, headers={"Last-Event-ID": unknown}) as stream:
            await inngest.publish(f"pipeline:{run_id}", "tokens", 1)
            gap = await stream.next_event()
            assert (gap.event, gap.json["kind"], gap.json["data"]["reason"]) == ("gap", "gap", "expired")
            assert (await stream.next_event()).json["data"] == 1


async def test_a_lost_connection_to_inngest_is_a_gap(client: Client, inngest: DevServer, run_id: str) -> None:
    channel = f"pipeline:{run_id}"
    async with client.stream("pipeline/stream", runId=run_id) as stream:
        await inngest.publish(channel, "tokens", 1)
        assert (await stream.next_event()).json["data"] == 1
        inngest.drop_connections(channel)
        gap = await stream.next_event()
        assert (gap.event, json.loads(gap.data or "")["data"]["reason"]) == ("gap", "reconnect")
        await inngest.publish(channel, "tokens", 2)
        assert (await stream.next_event()).json["data"] == 2


async def test_a_stream_ends_when_authorize_no_longer_allows_it(client: Client) -> None:
    until = str(int(time.time() * 1000) + 500)
    async with client.stream("fleeting/stream", until=until) as stream:
        last = (await stream.until_end())[-1]
    assert (last.event, last.json) == ("end", {"kind": "end", "reason": "forbidden"})
    assert time.time() * 1000 >= int(until)
    assert (await client.get("fleeting/stream", until=until)).status_code == 403


@pytest.mark.parametrize("grant", ["member", "member-async"])
async def test_authorize_finds_the_frameworks_context_again(client: Client, server: RunningServer, grant: str) -> None:
    """In the middle of a stream, when for the framework the request may be over."""
    # The first request of all takes its time.
    assert (await client.get(f"{grant}/stream", until="1", headers={"x-user": "member"})).status_code == 403
    until = str(int(time.time() * 1000) + 1500)
    printed = len(server.log)
    async with client.stream(f"{grant}/stream", until=until, headers={"x-user": "member"}) as stream:
        last = (await stream.until_end())[-1]
    assert (last.event, last.json) == ("end", {"kind": "end", "reason": "forbidden"})
    assert time.time() * 1000 >= int(until)
    assert "authorize" not in server.log[printed:]
    later = str(int(time.time() * 1000) + 10_000)
    stranger = await client.get(f"{grant}/stream", until=later, headers={"x-user": "stranger"})
    assert stranger.status_code == 403


async def test_a_stream_has_no_head(client: Client, run_id: str) -> None:
    response = await client.http.head("/api/realtime/pipeline/stream", params={"runId": run_id})
    assert response.status_code == 405
