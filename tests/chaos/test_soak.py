"""Churn for as long as one likes: memory, descriptors and tasks stay flat. CHAOS_SOAK_SECONDS sets how long.

The allocators keep what has been freed, in pieces, and the resident size creeps up for an hour without a leak. So the C
library is asked to give back what is free before each look, and what is in use is counted beside the resident size:
Python's objects and blocks, and bytes of the C library's heap.
CHAOS_TRACEMALLOC=1 traces Python's own allocations as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import sys
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import psutil
import pytest

from inngest_realtime_core import Channel, DataStream, Grant, allow_anyone, topic
from inngest_realtime_core.endpoints import EndpointRequest, Endpoints, asgi
from inngest_realtime_core.errors import RealtimeError
from inngest_realtime_core.realtime import Realtime

from .cluster import Cluster
from .conftest import PING_INTERVAL, PING_TIMEOUT
from .ledger import until

SECONDS = float(os.environ.get("CHAOS_SOAK_SECONDS") or 60)
# Its tables grow for long, and would be taken for a leak in the resident size.
TRACED = bool(os.environ.get("CHAOS_TRACEMALLOC"))
WORKERS = 24
CHANNELS = 40


class Run(Channel, name="run:{run_id}"):
    run_id: str
    a = topic(Any)


class Churn:
    """Subscribers that come and go in every way there is."""

    def __init__(self, realtime: Realtime, cluster: Cluster) -> None:
        self.realtime = realtime
        self.cluster = cluster
        self.stopping = False
        self.lives = 0
        self.errors = 0
        self.deeds = 0
        self.endpoints = Endpoints(realtime, [Grant(Run, authorize=allow_anyone, heartbeat=0.05)])
        # Data streams that somebody keeps beyond their subscription, for a while.
        self.kept: deque[DataStream] = deque(maxlen=50)

    async def subscriber(self) -> None:
        while not self.stopping:
            self.lives += 1
            channel = f"soak:{random.randrange(CHANNELS)}:{self.lives // 500}"
            try:
                await random.choice(
                    [
                        *(self.block, self.iterate, self.left, self.drop, self.events, self.encoded),
                        *(self.cancelled, self.callback, self.response, self.thread),
                    ]
                )(channel)
            except RealtimeError:
                self.errors += 1
            await asyncio.sleep(random.uniform(0, 0.02))

    async def block(self, channel: str) -> None:
        async with self.realtime.subscribe(channel=channel, topics=["a", "b"]) as subscription:
            for _ in range(random.randrange(5)):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(subscription.__anext__(), 0.05)

    async def iterate(self, channel: str) -> None:
        subscription = await self.realtime.subscribe(channel=channel, topics=["a"])
        self.cluster.publish(channel, "a")
        left = random.randrange(1, 5)
        async for _ in subscription:
            left -= 1
            self.cluster.publish(channel, "a")
            if not left:
                break
        await subscription.close()

    async def left(self, channel: str) -> None:
        """A loop that is left, taken up again with a time limit, and a stream and a data stream that outlive both."""
        subscription = await self.realtime.subscribe(channel=channel, topics=["a", "b"])
        stream = subscription.get_json_stream()
        self.cluster.publish(channel, "a")
        async for message in subscription:
            if message.stream is not None and random.random() < 0.5:
                self.kept.append(message.stream)
            break
        with contextlib.suppress(TimeoutError):
            await subscription.receive(timeout=0.02)
        del subscription
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)

    async def response(self, channel: str) -> None:
        """An endpoint's event stream whose client leaves after a while."""
        run_id = channel.partition(":")[2].replace(":", "-")
        answer = await self.endpoints.stream("run", EndpointRequest("GET", f"runId={run_id}", {}, None))
        first = asyncio.Event()

        async def send(message: Any) -> None:
            first.set()
            self.cluster.publish(f"run:{run_id}", "a")

        async def receive() -> Any:
            await first.wait()
            await asyncio.sleep(random.uniform(0, 0.05))
            return {"type": "http.disconnect"}

        await asgi.respond(answer, receive, send)

    async def thread(self, channel: str) -> None:
        await asyncio.to_thread(self._thread, channel)

    def _thread(self, channel: str) -> None:
        subscription = self.realtime.subscribe_sync(channel=channel, topics=["a"])
        self.cluster.publish(channel, "a")
        with contextlib.suppress(TimeoutError):
            subscription.receive(timeout=0.05)
        if random.random() < 0.5:
            subscription.close()

    async def drop(self, channel: str) -> None:
        await self.realtime.subscribe(channel=channel, topics=[random.choice("ab")])

    async def events(self, channel: str) -> None:
        subscription = await self.realtime.subscribe(channel=channel, topics=["a", "b"])
        stream = subscription.get_event_stream(heartbeat=0.05)
        for _ in range(random.randrange(4)):
            self.cluster.publish(channel, random.choice("ab"))
            await stream.__anext__()
        await stream.aclose()

    async def encoded(self, channel: str) -> None:
        subscription = await self.realtime.subscribe(channel=channel, topics=["b"])
        stream = subscription.get_encoded_stream(heartbeat=0.05)
        await stream.__anext__()
        await stream.aclose()

    async def cancelled(self, channel: str) -> None:
        async def work() -> None:
            async with self.realtime.subscribe(channel=channel, topics=["a"]) as subscription:
                async for _ in subscription:
                    self.cluster.publish(channel, "b")

        task = asyncio.ensure_future(work())
        await asyncio.sleep(random.uniform(0, 0.1))
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()

    async def callback(self, channel: str) -> None:
        got = asyncio.Event()
        subscription = await self.realtime.subscribe(
            channel=channel, topics=["a"], on_message=lambda _: got.set(), on_error=lambda _: got.set()
        )
        self.cluster.publish(channel, "a")
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(got.wait(), 0.1)
        await subscription.close()

    async def publisher(self) -> None:
        number = 0
        while not self.stopping:
            channel = f"soak:{random.randrange(CHANNELS)}:{self.lives // 500}"
            self.cluster.publish(channel, random.choice("ab"))
            number += 1
            if number % 200 == 0:
                # What the ledger of the cluster remembers is not under test.
                self.cluster.published.clear()
                self.cluster.texts.clear()
                await self.cluster.publish_stream(channel, "a", f"s{number}", chunks=5, seconds=0.05)
            await asyncio.sleep(0.004)

    async def wrecker(self) -> None:
        proxy = self.cluster.proxy
        while not self.stopping:
            # Now and then nothing breaks for long enough that connections count as settled.
            await asyncio.sleep(random.choice([random.uniform(0.2, 2.0), 11.0] if SECONDS > 120 else [1.0, 3.0]))
            self.deeds += 1
            match random.randrange(6):
                case 0:
                    proxy.cut()
                case 1:
                    proxy.reset(None)
                case 2:
                    proxy.blackhole()
                    await asyncio.sleep(3 * (PING_INTERVAL + PING_TIMEOUT))
                    proxy.bury()
                case 3:
                    await self.cluster.replace(grace=random.uniform(0, 1.5))
                case 4:
                    (old,) = self.cluster.servers
                    await self.cluster.stop(old)
                    await self.cluster.start()
                case _:
                    (server,) = self.cluster.servers
                    server.reject_tokens(500)
                    await asyncio.sleep(0.3)
                    server.reject_tokens(None)


class _MallInfo2(ctypes.Structure):
    # As <malloc.h> has it.
    _fields_: ClassVar = [
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    ]


def _heap() -> float:
    """MiB in use on the heap of the C library, without Python's arenas; 0 where it doesn't tell (glibc 2.33 does)."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return 0.0
    mallinfo2.restype = _MallInfo2
    info = mallinfo2()
    return (int(info.uordblks) + int(info.hblkhd)) / 2**20


def _trim() -> None:
    """Has the C library give back what is free, which it keeps in pieces otherwise, more of them each hour."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _measure() -> dict[str, float]:
    gc.collect()
    _trim()
    process = psutil.Process()
    return {
        "rss_mib": process.memory_info().rss / 2**20,
        "heap_mib": _heap(),
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "traced_mib": tracemalloc.get_traced_memory()[0] / 2**20 if tracemalloc.is_tracing() else 0.0,
        "descriptors": process.num_fds(),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
    }


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
async def test_churn(note: Callable[..., None]) -> None:
    """Everything at once, then nothing: what is left is what was there before."""
    async with Cluster().running() as cluster:
        realtime = Realtime(
            api_base_url=cluster.proxy.url, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT, linger=0.2
        )
        tasks_before = len(asyncio.all_tasks())
        churn = Churn(realtime, cluster)
        if TRACED:
            tracemalloc.start()
        running = [asyncio.ensure_future(churn.subscriber()) for _ in range(WORKERS)]
        running += [asyncio.ensure_future(churn.publisher()), asyncio.ensure_future(churn.wrecker())]
        samples: list[dict[str, float]] = []
        began = time.monotonic()
        while (age := time.monotonic() - began) < SECONDS:
            await asyncio.sleep(min(SECONDS / 24, SECONDS - age + 0.01))
            samples.append(_measure())
            print(
                {name: round(value, 2) for name, value in samples[-1].items()},
                f"subscriptions={churn.lives}",
                flush=True,
            )
            for task in running:
                if task.done():
                    task.result()
        churn.stopping = True
        await asyncio.wait_for(asyncio.gather(*running), 60)
        await until(lambda: realtime.stats().channels == 0, timeout=30)
        await until(lambda: realtime.stats().sockets == 0, timeout=30)
        stats = realtime.stats()
        await realtime.close()
        cluster.proxy.reset(None)
        try:
            await until(lambda: len(asyncio.all_tasks()) <= tasks_before, timeout=5)
        except TimeoutError:
            pytest.fail(f"Tasks are left: {asyncio.all_tasks()}")
        third = len(samples) // 3
        early, late = samples[third : 2 * third], samples[-third:]
        growth = {
            name: max(sample[name] for sample in late) - max(sample[name] for sample in early) for name in samples[0]
        }
        print("growth", {name: round(value, 2) for name, value in growth.items()})
        note(
            f"churn of {SECONDS:.0f} s",
            subscriptions=churn.lives,
            faults=churn.deeds,
            received=stats.received,
            reconnects=stats.reconnects,
            errors_told=churn.errors,
            **{f"{name}_first": samples[0][name] for name in samples[0]},
            **{f"{name}_last": samples[-1][name] for name in samples[0]},
        )
        if TRACED:
            tracemalloc.stop()
        assert growth["rss_mib"] < (25 if TRACED else 6)
        assert growth["traced_mib"] < 3
        # Of about 400,000 and 90,000; half a byte a subscription in an hour.
        assert growth["heap_mib"] < (25 if TRACED else 1.5)
        assert growth["blocks"] < 20_000
        assert growth["objects"] < 8_000
        assert growth["descriptors"] < 40
        assert growth["tasks"] < 80
        assert growth["threads"] < 5
