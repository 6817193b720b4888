from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable
from contextlib import aclosing

import pytest

from inngest_realtime_core.errors import DataStreamInterruptedError
from inngest_realtime_core.messages.data_stream import MAX_CHUNKS, DataStream


def stream() -> DataStream:
    return DataStream("s", channel="c", topic="t")


async def collect(chunks: AsyncIterable[str]) -> list[str]:
    return [chunk async for chunk in chunks]


async def test_every_reader_sees_every_chunk() -> None:
    data = stream()
    early = asyncio.create_task(collect(data))
    await asyncio.sleep(0)
    data.feed("a")
    middle = asyncio.create_task(collect(data))
    await asyncio.sleep(0)
    data.feed("b")
    data.end()
    assert await early == await middle == await collect(data) == ["a", "b"]
    assert data.ended


async def test_an_interruption_comes_after_the_last_chunk() -> None:
    data = stream()
    data.feed("a")
    data.end("the connection to Inngest was lost")
    data.feed("ignored")
    data.end()
    chunks = aiter(data)
    assert await anext(chunks) == "a"
    with pytest.raises(DataStreamInterruptedError, match="after 1 chunks") as caught:
        await anext(chunks)
    assert (caught.value.stream_id, caught.value.channel, caught.value.topic) == ("s", "c", "t")
    assert "interrupted, 1 chunks" in repr(data)


async def test_one_that_never_ends_is_cut_off() -> None:
    whole, longer = stream(), stream()
    for _ in range(MAX_CHUNKS):
        whole.feed("a")
        longer.feed("a")
    whole.end()
    longer.feed("one too many")
    longer.feed("another")
    assert len(await collect(whole)) == MAX_CHUNKS
    with pytest.raises(DataStreamInterruptedError, match="longer than what is kept"):
        await collect(longer)
    assert f"interrupted, {MAX_CHUNKS} chunks" in repr(longer)


async def test_a_reader_that_leaves_harms_no_other() -> None:
    data = stream()
    stays = asyncio.create_task(collect(data))
    leaves = asyncio.create_task(collect(data))
    await asyncio.sleep(0)
    leaves.cancel()
    data.feed("a")
    data.end()
    assert await stays == ["a"]


async def test_leaving_early() -> None:
    data = stream()
    data.feed("a")
    data.feed("b")
    async with aclosing(aiter(data)) as chunks:
        assert await anext(chunks) == "a"
    assert await collect_some(data, 2) == ["a", "b"]


async def test_a_read_that_is_cut_short_is_taken_up_again() -> None:
    """Else it would look as if the stream had ended."""
    data = stream()
    data.feed("a")
    chunks, waiting = aiter(data), data.sync(timeout=0.01)
    assert (await anext(chunks), await asyncio.to_thread(next, waiting)) == ("a", "a")
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(chunks), 0.01)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(next, waiting)
    assert not data._chunks.wakers  # pyright: ignore[reportPrivateUsage]
    data.feed("b")
    data.end()
    assert [chunk async for chunk in chunks] == ["b"]
    assert await asyncio.to_thread(list, waiting) == ["b"]


async def collect_some(data: DataStream, count: int) -> list[str]:
    async with aclosing(aiter(data)) as chunks:
        return [await anext(chunks) for _ in range(count)]


async def test_readers_on_several_loops_and_threads() -> None:
    data = stream()
    results: list[list[str]] = []
    reading = threading.Barrier(3)

    def on_another_loop() -> None:
        async def read() -> list[str]:
            reading.wait(5)
            return await collect(data)

        results.append(asyncio.run(read()))

    def in_a_thread() -> None:
        reading.wait(5)
        results.append(list(data.sync(timeout=5)))

    threads = [threading.Thread(target=on_another_loop), threading.Thread(target=in_a_thread)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(reading.wait, 5)
    for number in range(100):
        data.feed(str(number))
        await asyncio.sleep(0)
    data.end()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert results == [[str(number) for number in range(100)]] * 2


async def test_a_reader_whose_loop_is_closed_is_forgotten() -> None:
    data = stream()

    def abandon() -> None:
        loop = asyncio.new_event_loop()
        reader = loop.create_task(collect(data))
        loop.run_until_complete(asyncio.sleep(0))
        reader.cancel()
        loop.run_until_complete(asyncio.gather(reader, return_exceptions=True))
        loop.close()

    await asyncio.to_thread(abandon)
    data.feed("a")
    data.end()
    assert await collect(data) == ["a"]


def test_blocking_with_a_timeout() -> None:
    data = stream()
    data.feed("a")
    chunks = data.sync(timeout=0.01)
    assert next(chunks) == "a"
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        next(chunks)


def test_blocking_is_told_of_an_interruption() -> None:
    data = stream()
    data.end("cut")
    with pytest.raises(DataStreamInterruptedError):
        list(data.sync())
