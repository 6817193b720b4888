"""10,000 channels in one process: what each costs while nothing happens, and how long they take to come back.

The channels are real subscriptions on real sockets to the embedded server, which runs in another process.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final

import psutil

from inngest_realtime_core import Realtime, Subscription

from .inngest import Inngest
from .report import Figure, at_most, only

__all__ = ["run"]

CHANNELS: Final = 10_000
_WARM: Final = 200  # channels that are subscribed before memory is looked at, so that code and pools are loaded
_TOGETHER: Final = 500  # subscriptions that are opened at the same time
_DEADLINE: Final = 120.0  # seconds


def run() -> list[Figure]:
    with Inngest() as inngest:
        return asyncio.run(_measure(inngest))


async def _measure(inngest: Inngest) -> list[Figure]:
    async with Realtime(api_base_url=inngest.url) as realtime:
        warm = await _subscribe(realtime, range(_WARM))
        before = _memory()
        started = time.perf_counter()
        subscriptions = warm + await _subscribe(realtime, range(_WARM, CHANNELS))
        subscribed = time.perf_counter() - started
        memory = (_memory() - before) / (CHANNELS - _WARM)
        sockets = realtime.stats().sockets
        tokens = inngest.stats()["token_requests"]

        lost = realtime.stats().reconnects
        started = time.perf_counter()
        inngest.ask("drop")
        while not (_recovered(inngest) and realtime.stats().reconnects >= lost + sockets):
            if time.perf_counter() - started > _DEADLINE:
                raise TimeoutError(f"{inngest.stats()['subscriptions']:,} of {CHANNELS:,} channels came back.")
            await asyncio.sleep(0.02)
        recovered = time.perf_counter() - started
        again = inngest.stats()["token_requests"] - tokens
        gaps = sum([(await asyncio.wait_for(anext(stream), 5)).kind == "gap" for stream in subscriptions])

        started = time.perf_counter()
        await asyncio.gather(*(subscription.close() for subscription in subscriptions))
        closed = time.perf_counter() - started
    return [
        at_most("memory a subscription", memory / 1024, 6, "KiB", f"resident, {CHANNELS:,} channels, idle"),
        at_most("sockets", sockets, 20, ""),
        only("time to subscribe all", subscribed, "s", f"{tokens} token requests, {_TOGETHER} at a time"),
        only("time to recover all", recovered, "s", "after the server dropped every connection"),
        at_most("token requests while recovering", again, 20, ""),
        Figure("subscriptions told of the gap", f"{gaps:,}", f"{CHANNELS:,}", gaps == CHANNELS),
        only("time to close all", closed, "s"),
    ]


async def _subscribe(realtime: Realtime, numbers: range) -> list[Subscription]:
    gate = asyncio.Semaphore(_TOGETHER)

    async def one(number: int) -> Subscription:
        async with gate:
            return await realtime.subscribe(channel=f"pipeline:{number:08d}", topics=["status"])

    return await asyncio.gather(*map(one, numbers))


def _recovered(inngest: Inngest) -> bool:
    return inngest.stats()["subscriptions"] == CHANNELS


def _memory() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss
