"""`Realtime.batch()`: 2,000 tokens of an answer, at 50 a second and at full speed.

How many messages and requests they become, and how long a token takes from `send()` to a subscriber, beside tokens
that are published one by one. The embedded server is a process of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from inngest_realtime_core import Channel, Realtime, topic

from .inngest import Inngest
from .report import Figure, at_most, only

__all__ = ["run"]

TOKENS: Final = 2_000
RATE: Final = 50  # tokens a second
EVERY: Final = 0.05  # seconds; what batch() does unless told otherwise
_SINGLE: Final = 500  # tokens published one by one
_WIDTH: Final = 6  # characters of a token


class Answer(Channel, name="answer:{key}"):
    key: str
    tokens = topic(str)


Send = Callable[[str], Awaitable[None]]


def run() -> list[Figure]:
    with Inngest() as inngest:
        return asyncio.run(_measure(inngest))


async def _measure(inngest: Inngest) -> list[Figure]:
    figures: list[Figure] = []
    async with Realtime(api_base_url=inngest.url) as realtime:
        alone, _ = await _single(realtime)
        request = _p99(alone)
        figures.append(only("one by one, p50", statistics.median(alone), "ms", f"{_SINGLE:,} tokens, {RATE} a second"))
        figures.append(only("one by one, p99", request, "ms", "what one request takes"))
        for name, rate in ((f"{RATE} a second", RATE), ("full speed", None)):
            before = inngest.stats()["publishes"]
            latencies, messages, seconds = await _batched(realtime, name.replace(" ", "-"), rate)
            requests = inngest.stats()["publishes"] - before
            note = f"{TOKENS:,} tokens in {seconds:.2f} s"
            figures += [
                only(f"{name}: messages", messages, "", note),
                only(f"{name}: requests", requests, "", note),
                only(f"{name}: latency, p50", statistics.median(latencies), "ms", note),
                at_most(f"{name}: latency, p99", _p99(latencies), EVERY * 1000 + request, "ms", "every + one request"),
            ]
    return figures


def _p99(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=100)[98]


async def _single(realtime: Realtime) -> tuple[list[float], int]:
    answer = Answer(key="single")

    async def send_all(send_token: Send) -> int:
        await _send(send_token, _SINGLE, RATE)
        return _SINGLE

    return await _timed(realtime, answer, _SINGLE, send_all, lambda token: realtime.publish(answer.tokens, token))


async def _batched(realtime: Realtime, key: str, rate: int | None) -> tuple[list[float], int, float]:
    answer = Answer(key=key)
    batch = realtime.batch(answer.tokens, every=EVERY)
    began = time.perf_counter()
    ended = began

    async def send_all(send_token: Send) -> int:
        nonlocal ended
        async with batch:
            await _send(send_token, TOKENS, rate)
        ended = time.perf_counter()
        return batch.messages

    latencies, messages = await _timed(realtime, answer, TOKENS, send_all, batch.send)
    return latencies, messages, ended - began


async def _send(send_token: Send, count: int, rate: int | None) -> None:
    began = time.perf_counter()
    for number in range(count):
        if rate is not None:
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        await send_token(f"{number:0{_WIDTH}}")


async def _timed(
    realtime: Realtime, answer: Answer, count: int, send_all: Callable[[Send], Awaitable[int]], send: Send
) -> tuple[list[float], int]:
    """Milliseconds from the sending of each token to its arrival at a subscriber, and what `send_all` returned."""
    sent: list[float] = []
    latencies: list[float] = []

    async def send_token(token: str) -> None:
        sent.append(time.perf_counter())
        await send(token)

    async with realtime.subscribe(channel=answer, topics=["tokens"]) as stream:

        async def read() -> None:
            async for message in stream:
                now = time.perf_counter()
                for _ in range(len(message.data) // _WIDTH):
                    latencies.append((now - sent[len(latencies)]) * 1000)
                if len(latencies) == count:
                    return

        reader = asyncio.create_task(read())
        result = await send_all(send_token)
        await asyncio.wait_for(reader, 10)
    return latencies, result
