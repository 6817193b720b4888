"""Ends at the worst moment: of a `Realtime`, of a subscription that is being made, of an event loop's patience."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable

import pytest

from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .conftest import PING_INTERVAL, PING_TIMEOUT
from .ledger import Witness, until
from .proxy import Proxy


def _answer(kind: str, answer: bytes) -> Callable[[Proxy], None]:
    def begin(proxy: Proxy) -> None:
        proxy.answers[kind] = answer
        proxy.cut(None)

    return begin


SITUATIONS: dict[str, Callable[[Proxy], None]] = {
    "all well": lambda proxy: None,
    "hanging token endpoint": _answer("token", b""),
    "swallowed handshake": _answer("connect", b""),
    "swallowed connection": lambda proxy: proxy.blackhole(),
    "failing token endpoint": _answer("token", b"HTTP/1.1 500 No\r\n\r\n"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_close(situation: str, channel: str, proxy: Proxy, note: Callable[..., None]) -> None:
    """Closing takes a second at most, whatever the state of Inngest, and leaves no task."""
    before = asyncio.all_tasks()
    realtime = Realtime(api_base_url=proxy.url, ping_interval=5.0, ping_timeout=5.0)
    witnesses = [
        Witness(await realtime.subscribe(channel=f"{channel}:{number}", topics=["t"])).start() for number in range(5)
    ]
    SITUATIONS[situation](proxy)
    if situation not in ("all well", "swallowed connection"):
        await until(lambda: witnesses[0].subscription.state == "reconnecting")
        await until(lambda: proxy.seen.get("token", 0) + proxy.seen.get("connect", 0) > 2)
    began = time.monotonic()
    await realtime.close()
    seconds = time.monotonic() - began
    note(f"closing a Realtime, {situation}", seconds=seconds)
    assert seconds < 1.5
    await until(lambda: all(witness._task is not None and witness._task.done() for witness in witnesses))
    assert all(witness.error is None for witness in witnesses)
    proxy.reset(None)
    await until(lambda: len(asyncio.all_tasks() - before) == 0)


async def test_storm_of_cancellations(channel: str, server: DevServer, note: Callable[..., None]) -> None:
    """Subscribing cancelled after any number of turns of the loop: nothing hangs, nothing is left behind."""
    async with Realtime(api_base_url=server.url, linger=0.0) as realtime:
        for turns in range(120):
            task = asyncio.ensure_future(realtime.subscribe(channel=channel, topics=["t"]).__aenter__())
            for _ in range(turns % 60):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await task.result().close()
        for _ in range(50):
            tasks = [
                asyncio.ensure_future(realtime.subscribe(channel=channel, topics=["t"]).__aenter__()) for _ in range(5)
            ]
            await asyncio.sleep(random.uniform(0, 0.004))
            for task in tasks[1:]:
                task.cancel()
            await asyncio.wait(tasks)
            subscription = tasks[0].result()
            await server.publish(channel, "t", {"n": 0})
            assert (await asyncio.wait_for(subscription.__anext__(), 5)).data == {"n": 0}
            for task in tasks:
                if not task.cancelled():
                    await task.result().close()
        await server.until(lambda stats: stats.subscriptions == 0)
        assert realtime.stats().channels == 0


async def test_closing_while_subscribing(channel: str, server: DevServer) -> None:
    """A `Realtime` that is closed under those who are just subscribing: each of them gets an answer."""
    for turns in range(60):
        realtime = Realtime(api_base_url=server.url)
        tasks = [
            asyncio.ensure_future(realtime.subscribe(channel=f"{channel}:{n}", topics=["t"]).__aenter__())
            for n in range(3)
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(realtime.close(), 5)
        _, pending = await asyncio.wait(tasks, timeout=5)
        assert not pending
        for task in tasks:
            task.exception()
        await realtime.close()
    await server.until(lambda stats: stats.open_connections == 0)


async def test_busy_event_loop(channel: str, note: Callable[..., None]) -> None:
    """An event loop blocked for longer than the ping timeout is no reason to reconnect: the pong has come meanwhile."""
    with DevServer().in_thread() as server:
        async with Realtime(
            api_base_url=server.url, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT
        ) as realtime:
            witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
            for _ in range(4):
                pings = server.stats().pings
                await until(lambda pings=pings: server.stats().pings > pings)
                time.sleep(3 * PING_TIMEOUT)  # noqa: ASYNC251 - just what an application should not do
            await server.publish(channel, "t", {"n": 0})
            await until(lambda: witness.last("t") == 0)
            note("event loop blocked for 3 ping timeouts", reconnects=realtime.stats().reconnects)
            assert realtime.stats().reconnects == 0
            await witness.stop()


def test_threads(channel: str, note: Callable[..., None]) -> None:
    """The blocking face sees the same: a gap, and then what comes after it."""
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT, linger=0.0)
        seen: list[object] = []
        ready = threading.Event()

        def read() -> None:
            with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
                ready.set()
                for message in subscription:
                    seen.append(message.data.reason if message.kind == "gap" else message.data["n"])
                    if message.kind == "data" and message.data["n"] == 1:
                        break

        reader = threading.Thread(target=read)
        reader.start()
        assert ready.wait(5)
        server.publish_sync(channel, "t", {"n": 0})
        connects = server.stats().connects
        while len(seen) < 1:
            time.sleep(0.002)
        server.drop_connections()
        server.until_sync(lambda stats: stats.connects > connects)
        while len(seen) < 2:
            time.sleep(0.002)
        server.publish_sync(channel, "t", {"n": 1})
        reader.join(10)
        assert seen == [0, "reconnect", 1]
        realtime.close_sync()
        server.until_sync(lambda stats: stats.open_connections == 0)
