"""How long it takes until a reader that waits has ended, for each way in which a subscription can end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from threading import Thread
from typing import Any, Final

from inngest_realtime_core import Realtime, RealtimeError
from inngest_realtime_devserver import DevServer

from .report import Figure, only

__all__ = ["run"]

ROUNDS: Final = 20

End = Callable[[Any, Realtime, DevServer], Awaitable[None]]


async def _close(subscription: Any, realtime: Realtime, server: DevServer) -> None:
    await subscription.close()


async def _close_all(subscription: Any, realtime: Realtime, server: DevServer) -> None:
    await realtime.close()


async def _shut_down(subscription: Any, realtime: Realtime, server: DevServer) -> None:
    realtime.begin_shutdown()


async def _reject(subscription: Any, realtime: Realtime, server: DevServer) -> None:
    server.reject_tokens(401)
    server.drop_connections()


_ENDS: Final[dict[str, End]] = {
    "close()": _close,
    "Realtime.close()": _close_all,
    "begin_shutdown()": _shut_down,
    "a key that Inngest rejects at a reconnect": _reject,
}

_SYNC_ENDS: Final[dict[str, Callable[[Any, Realtime], None]]] = {
    "close(), sync": lambda subscription, realtime: subscription.close(),
    "Realtime.close_sync()": lambda subscription, realtime: realtime.close_sync(),
}


def run() -> list[Figure]:
    figures: list[Figure] = []
    for name, end in _ENDS.items():
        figures += _figures(name, [asyncio.run(_async(end)) for _ in range(ROUNDS)], "a task that waits in `async for`")
    figures += _figures(
        "leaving `async with`", [asyncio.run(_left()) for _ in range(ROUNDS)], "until the block is left"
    )
    figures += _figures(
        "nobody holds it", [asyncio.run(_dropped()) for _ in range(ROUNDS)], "until the channel is left"
    )
    for name, end_sync in _SYNC_ENDS.items():
        figures += _figures(name, [_sync(end_sync) for _ in range(ROUNDS)], "a thread that waits in `for`")
    figures += _figures(
        "the event loop is closed", [_closed() for _ in range(ROUNDS)], "a thread that waits in `message.stream.sync()`"
    )
    return figures


def _figures(name: str, seconds: list[float], note: str) -> list[Figure]:
    milliseconds = [second * 1000 for second in seconds]
    return [
        only(f"{name}, median", statistics.median(milliseconds), "ms", note),
        only(f"{name}, worst of {len(seconds)}", max(milliseconds), "ms", note),
    ]


async def _async(end: End) -> float:
    async with DevServer() as server, Realtime(api_base_url=server.url) as realtime:
        subscription = await realtime.subscribe(channel="c", topics=["t"])

        async def read() -> float:
            try:
                async for _ in subscription:
                    pass
            except RealtimeError:
                pass
            return time.perf_counter()

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        await end(subscription, realtime, server)
        return await asyncio.wait_for(reading, 60) - began


async def _left() -> float:
    async with DevServer() as server, Realtime(api_base_url=server.url) as realtime:
        async with realtime.subscribe(channel="c", topics=["t"]):
            began = time.perf_counter()
        return time.perf_counter() - began


async def _dropped() -> float:
    async with DevServer() as server, Realtime(api_base_url=server.url) as realtime:
        subscription = await realtime.subscribe(channel="c", topics=["t"])
        gc.collect()
        began = time.perf_counter()
        del subscription
        while realtime.stats().subscriptions:  # noqa: ASYNC110 - how long it takes is measured
            await asyncio.sleep(0)
        return time.perf_counter() - began


def _sync(end: Callable[[Any, Realtime], None]) -> float:
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url)
        subscription = realtime.subscribe_sync(channel="c", topics=["t"])
        ended = _ended_in_thread(subscription)
        began = time.perf_counter()
        end(subscription, realtime)
        seconds = ended() - began
        realtime.close_sync()
    return seconds


def _closed() -> float:
    with DevServer().in_thread() as server:
        loop = asyncio.new_event_loop()
        realtime = Realtime(api_base_url=server.url)
        subscription = loop.run_until_complete(_subscribed(realtime))
        server.inject_sync("c", "t", '{"kind":"datastream-start","data":"s","channel":"c","topic":"t"}')
        message = loop.run_until_complete(subscription.receive(timeout=10))
        ended = _ended_in_thread(message.stream.sync())
        began = time.perf_counter()
        loop.close()
        return ended() - began


async def _subscribed(realtime: Realtime) -> Any:
    return await realtime.subscribe(channel="c", topics=["t"])


def _ended_in_thread(stream: Iterable[Any]) -> Callable[[], float]:
    """Reads a stream in a thread that soon waits for it. Returns what waits for its end, and says when that was."""
    ended: list[float] = []

    def read() -> None:
        with contextlib.suppress(RealtimeError):
            for _ in stream:
                pass
        ended.append(time.perf_counter())

    reading = Thread(target=read)
    reading.start()
    time.sleep(0.01)

    def wait() -> float:
        reading.join(60)
        return ended[0]

    return wait
