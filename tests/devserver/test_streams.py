"""PROTOCOL.md sections 3 and 6: data streams (`text/stream`) and raw bytes (`publish/tee`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError

from .client import DEADLINE, Client, fresh, receive

STREAM = "text/stream"


async def stream_of(connection: ClientConnection) -> list[Any]:
    frames = [json.loads(await receive(connection))]
    while frames[-1]["kind"] != "datastream-end":
        frames.append(json.loads(await receive(connection)))
    return frames


def text_of(frames: list[Any]) -> str:
    return "".join(frame["data"] for frame in frames if frame["kind"] == "chunk")


async def test_start_chunks_and_end(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        response = await client.publish(channel, "t", "Hello ", content_type=STREAM)
        assert (response.status_code, response.content) == (200, b"")
        start, chunk, end = [await receive(connection) for _ in range(3)]
    stream_id, created_at = json.loads(start)["data"], json.loads(start)["created_at"]
    envelope = (
        f'"data":"{stream_id}","created_at":"{created_at}","channel":"{channel}",'
        f'"env_id":"00000000-0000-4000-b000-000000000000","topic":"t"}}'
    )
    assert start == '{"kind":"datastream-start",' + envelope
    assert chunk == f'{{"kind":"chunk","stream_id":"{stream_id}","data":"Hello "}}'
    assert end == '{"kind":"datastream-end",' + envelope


async def test_each_write_of_the_publisher_is_a_chunk(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:

        async def words() -> AsyncIterator[bytes]:
            for word in ("The ", "quick ", "fox"):
                yield word.encode()
                await asyncio.wait_for(arrived.acquire(), DEADLINE)

        arrived = asyncio.Semaphore(0)
        publishing = asyncio.create_task(client.publish(channel, "t", words(), content_type=STREAM))
        await receive(connection)
        chunks: list[str] = []
        for _ in range(3):
            chunks.append(json.loads(await receive(connection))["data"])
            arrived.release()
        assert chunks == ["The ", "quick ", "fox"]
        assert json.loads(await receive(connection))["kind"] == "datastream-end"
        await publishing


async def test_chunks_are_cut_at_1024_bytes_and_a_split_character_is_lost_on_both_sides(
    client: Client, channel: str
) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.server.publish_stream(channel, "t", ["x" * 1_022 + "🦊" + "y" * 1_022])
        frames = await stream_of(connection)
    assert [frame["data"] for frame in frames[1:-1]] == ["x" * 1_022 + "\ufffd" * 2, "\ufffd" * 2 + "y" * 1_022]


async def test_a_large_body_is_cut_into_small_chunks(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", "z" * 100_000, content_type=STREAM)
        frames = await stream_of(connection)
    assert text_of(frames) == "z" * 100_000
    assert max(len(frame["data"]) for frame in frames[1:-1]) == 1_024


async def test_after_1000_reads_the_stream_ends_silently(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        response = await client.publish(channel, "t", "z" * 1_200_000, content_type=STREAM)
        assert response.status_code == 200
        frames = await stream_of(connection)
        assert len(frames) == 1_002
        await client.publish(channel, "t", "1")
        assert json.loads(await receive(connection))["data"] == 1


async def test_a_publisher_that_aborts_still_yields_an_end(client: Client, channel: str) -> None:
    server = client.server
    async with client.listen((channel, "t")) as connection:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            f"POST /v1/realtime/publish?channel={channel}&topic=t HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: {STREAM}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".encode()
        )
        assert json.loads(await receive(connection))["kind"] == "datastream-start"
        assert json.loads(await receive(connection))["data"] == "half"
        writer.transport.abort()
        assert json.loads(await receive(connection))["kind"] == "datastream-end"


async def test_streams_interleave_and_only_the_stream_id_ties_them(client: Client, channel: str) -> None:
    async with client.listen((channel, "a"), (channel, "b")) as connection:
        turns = {"a": asyncio.Semaphore(1), "b": asyncio.Semaphore(0)}

        async def words(own: str, other: str) -> AsyncIterator[str]:
            for n in range(3):
                await turns[own].acquire()
                yield f"{own}{n}"
                turns[other].release()

        publish = client.server.publish_stream
        await asyncio.gather(publish(channel, "a", words("a", "b")), publish(channel, "b", words("b", "a")))
        frames = [json.loads(await receive(connection)) for _ in range(10)]
    ids = {frame["topic"]: frame["data"] for frame in frames if frame["kind"] == "datastream-start"}
    chunks = [frame for frame in frames if frame["kind"] == "chunk"]
    assert [chunk["data"] for chunk in chunks] == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert all(chunk["stream_id"] == ids[chunk["data"][0]] for chunk in chunks)
    assert all(set(chunk) == {"kind", "stream_id", "data"} for chunk in chunks)


async def test_a_late_joiner_sees_the_rest_of_a_stream(client: Client, channel: str) -> None:
    joined, started = asyncio.Event(), asyncio.Event()

    async def words() -> AsyncIterator[str]:
        yield "early"
        started.set()
        await joined.wait()
        yield "late"

    publishing = asyncio.create_task(client.server.publish_stream(channel, "t", words()))
    await started.wait()
    async with client.listen((channel, "t")) as connection:
        joined.set()
        frames = await stream_of(connection)
    assert [frame["kind"] for frame in frames] == ["chunk", "datastream-end"]
    await publishing


@pytest.mark.parametrize("content_type", ["text/stream; charset=utf-8", "text/streams", "TEXT/STREAM"])
async def test_only_the_exact_content_type_streams(client: Client, channel: str, content_type: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", "x", content_type=content_type)
        assert json.loads(await receive(connection))["kind"] == "data"


async def test_a_run_id_is_in_the_chunks_too(client: Client, channel: str) -> None:
    ulid = "01JABCDEFGHJKMNPQRSTVWXYZ0"
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", "x", content_type=STREAM, run_id=ulid)
        assert [frame["run_id"] for frame in await stream_of(connection)] == [ulid] * 3


async def test_raw_bytes_reach_the_stream_topic_without_an_envelope(client: Client, channel: str) -> None:
    async with client.listen((channel, "$stream")) as connection:
        response = await client.http.post("/publish/tee", params={"channel": channel}, content="data: <x>\n\n")
        assert (response.status_code, response.content) == (200, b"")
        assert await receive(connection) == "data: <x>\n\n"


async def test_raw_bytes_that_are_not_utf_8_make_the_client_close_with_1007(client: Client, channel: str) -> None:
    async with client.listen((channel, "$stream")) as connection:
        await client.http.post("/publish/tee", params={"channel": channel}, content=b"\xff")
        with pytest.raises(ConnectionClosedError):
            await receive(connection)
        assert connection.protocol.close_sent is not None
        assert connection.protocol.close_sent.code == 1007


async def test_raw_bytes_over_1024000_are_500_after_a_partial_delivery(client: Client, channel: str) -> None:
    async with client.listen((channel, "$stream")) as connection:
        params = {"channel": channel}
        response = await client.http.post("/publish/tee", params=params, content="z" * 1_100_000)
        assert response.status_code == 500
        size = 0
        while size < 1_024_000:
            size += len(await receive(connection))
        assert size == 1_024_000
        assert (await client.http.post("/publish/tee", params=params, content="z" * 1_024_000)).status_code == 200
        while size < 2 * 1_024_000:
            size += len(await receive(connection))


async def test_raw_bytes_without_a_channel_are_400(client: Client) -> None:
    assert (await client.http.post("/publish/tee", content="x")).status_code == 400
    assert (await client.http.post("/publish/tee", params={"channel": fresh()}, content="x")).status_code == 200
