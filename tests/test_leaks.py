"""After the end nothing is left: no task, no thread beyond the one background loop, no socket, no warning."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_core._upstream.upstream import Upstream
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh, receive, soon


def sockets_to(port: int) -> list[Any]:
    """The sockets of this process whose other end is the server."""
    found = psutil.Process().net_connections("tcp")
    return [one for one in found if one.raddr and one.raddr.port == port and one.status != psutil.CONN_TIME_WAIT]


def other_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def live(server: DevServer, realtime: Realtime) -> None:
    """A bit of everything, and not all of it tidied up."""
    channel = fresh()
    seen: list[Any] = []
    subscription = await realtime.subscribe(channel=channel, topics=["t", "s"])
    await realtime.subscribe(channel=fresh(), topics=["t"], on_message=seen.append)
    stream = subscription.get_encoded_stream(heartbeat=0.01)
    await soon(anext(stream))
    events = subscription.get_event_stream(heartbeat=0.01, last_event_id="unknown")
    await soon(anext(events))
    await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    await realtime.publish((channel, "t"), 1)
    await realtime.publish_stream((channel, "s"), ["a", "b"])
    await receive(subscription, 5)
    server.drop_connections()
    await eventually(lambda: realtime.stats().reconnects >= 1)
    await server.begin_closing(grace=60)
    await server.until(lambda stats: stats.open_connections >= 2)


@pytest.mark.parametrize("linger", [0, 30])
async def test_closing_leaves_nothing(linger: float) -> None:
    asyncio.get_running_loop().set_debug(True)
    async with DevServer() as server:
        before = set(other_tasks())
        threads = set(threading.enumerate())
        realtime = Realtime(api_base_url=server.url, linger=linger)
        await live(server, realtime)
        assert sockets_to(server.port)
        await realtime.close()
        # Without a pause: what close() returns from is over. (Streams that nobody closed end with their generators.)
        gc.collect()
        await asyncio.sleep(0)
        assert [task for task in set(other_tasks()) - before if "inngest-realtime" in task.get_name()] == []
        assert sockets_to(server.port) == []
        assert set(threading.enumerate()) <= threads


async def test_a_subscription_leaves_nothing_once_it_is_closed(server: DevServer) -> None:
    before = set(other_tasks())
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        for _ in range(20):
            async with realtime.subscribe(channel=fresh(), topics=["t"]) as subscription:
                await server.publish(subscription.channel, "t", 1)
                assert await receive(subscription, 1) == [1]
        await server.until(lambda stats: stats.open_connections == 0)
        await eventually(lambda: {task for task in other_tasks() if "inngest-realtime" in task.get_name()} <= before)
        await eventually(lambda: sockets_to(server.port) == [])


async def test_closed_subscriptions_are_not_kept_in_memory(server: DevServer, realtime: Realtime) -> None:
    subscription = await realtime.subscribe(channel=fresh(), topics=["t"])
    kept = weakref.ref(subscription)
    await subscription.close()
    del subscription
    gc.collect()
    assert kept() is None


async def test_threads_leave_one_background_loop(server: DevServer) -> None:
    realtime = Realtime(api_base_url=server.url, linger=0)

    def work() -> None:
        channel = fresh()
        with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
            realtime.publish_sync((channel, "t"), 1)
            message = subscription.receive(timeout=5)
            assert message is not None
            assert message.data == 1

    for _ in range(5):
        workers = [threading.Thread(target=work, name="worker") for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            await asyncio.to_thread(worker.join, 5)
    await asyncio.to_thread(realtime.close_sync)
    assert [thread.name for thread in threading.enumerate()].count("inngest-realtime") == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "worker"]
    assert sockets_to(server.port) == []


SCRIPT = """
import asyncio, gc, logging
logging.getLogger("inngest_realtime").setLevel(logging.ERROR)  # that a connection was lost is no complaint
from inngest_realtime_core import Realtime, subscribe, subscribe_sync
from inngest_realtime_devserver import DevServer
from inngest_realtime_core._upstream.upstream import Upstream

async def main():
    async with DevServer() as server:
        async with Realtime(api_base_url=server.url) as realtime:
            async with realtime.subscribe(channel="c", topics=["t"]) as stream:
                await server.publish("c", "t", 1)
                async for message in stream:
                    break
                encoded = stream.get_encoded_stream()
                server.drop_connections()
                print((await anext(encoded))[:10])
                await encoded.aclose()
        async with subscribe(channel="d", topics=["t"], api_base_url=server.url):
            pass
        def threads():
            with subscribe_sync(channel="e", topics=["t"], api_base_url=server.url) as stream:
                server.publish_sync("e", "t", 1)
                for message in stream:
                    break
        await asyncio.to_thread(threads)
        await server.until(lambda stats: stats.open_connections == 0)

asyncio.run(main(), debug=True)
gc.collect()
print("done")
"""


def test_development_mode_has_nothing_to_say() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT], capture_output=True, text=True, timeout=30
    )
    # asyncio's debug mode also reports what takes long, which a busy machine may make anything.
    complaints = [line for line in done.stderr.splitlines() if " took " not in line]
    assert (done.returncode, done.stdout, complaints) == (0, "b'event: gap'\ndone\n", [])


async def test_nothing_is_left_of_tokens_that_were_minted_elsewhere() -> None:
    """Each has a connection of its own, which ends with its subscription."""
    # Those of other tests, whose event loops ended before they did, are theirs.
    others = weakref.WeakSet(upstreams())
    async with DevServer() as server, Realtime(api_base_url=server.url, linger=0) as realtime:
        for _ in range(10):
            channel = fresh()
            token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
            async with realtime.subscribe(channel=channel, topics=["t"], key=token.key):
                pass
        await eventually(lambda: realtime.stats().sockets == 0)
        await eventually(lambda: not [found for found in upstreams() if found not in others])


def upstreams() -> list[Upstream]:
    gc.collect()
    return [found for found in gc.get_objects() if issubclass(type(found), Upstream)]


@pytest.mark.parametrize("times", [1, 2])
async def test_calls_that_are_cut_short_leave_no_connection(server: DevServer, times: int) -> None:
    """At every step of a call: httpcore's pool counts some of their connections as in use for ever, 100 at most."""
    ended = asyncio.Event()

    async def long() -> AsyncIterator[str]:
        yield "begun"
        await ended.wait()

    channel = fresh()
    async with Realtime(api_base_url=server.url) as realtime:
        other = asyncio.ensure_future(realtime.publish_stream((channel, "s"), long()))  # it is never unused
        await eventually(lambda: bool(server.published(channel)))
        open_before = len(sockets_to(server.port))
        cut = 0
        for steps in range(70):
            for _ in range(8):
                call = asyncio.ensure_future(realtime.publish((channel, "t"), steps))
                for _ in range(steps):
                    await asyncio.sleep(0)
                for _ in range(times):
                    call.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([call])
                cut += call.cancelled()
        assert cut > 100
        await soon(realtime.publish((channel, "t"), "after"))
        await eventually(lambda: len(sockets_to(server.port)) <= open_before + 1)
        ended.set()
        await soon(other)


async def test_numbers_are_told_in_any_thread_while_connections_come_and_go() -> None:
    async with DevServer() as server, Realtime(api_base_url=server.url, linger=0) as realtime:
        ended = threading.Event()
        failures: list[Exception] = []

        def look() -> None:
            while not ended.is_set():
                try:
                    realtime.stats()
                except Exception as error:
                    failures.append(error)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for _ in range(20):
                channel = fresh()
                token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
                async with realtime.subscribe(channel=channel, topics=["t"], key=token.key):
                    pass
        finally:
            ended.set()
            looking.join()
        assert not failures


RUNS = """
import asyncio, gc, os, sys
gc.disable()
import anyio
from asgiref.sync import async_to_sync
from inngest_realtime_core import Realtime
from inngest_realtime_devserver import DevServer

def descriptors():
    return len(os.listdir("/proc/self/fd"))

async def listen(realtime):
    subscription = await realtime.subscribe(channel="c", topics=["t"])
    await realtime.publish(("c", "t"), 1)
    return await asyncio.wait_for(anext(subscription), 10)

async def wait(work):
    return await work

def by_hand(last):
    def run(work):
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(work)
        finally:
            if last is not None:
                loop.run_until_complete(last(loop))
            loop.close()
    return run

with DevServer().in_thread() as server:
    realtime = Realtime(api_base_url=server.url)
    run = {
        "asyncio.run": asyncio.run,
        "anyio.run": lambda work: anyio.run(lambda: work),
        "close": by_hand(lambda loop: realtime.close()),
        "loop.close": by_hand(None),
        "async_to_sync": async_to_sync(wait),
    }[sys.argv[1]]
    run(realtime.publish(("c", "t"), 0))
    server.until_sync(lambda stats: True)
    before = descriptors()
    for number in range(200):
        run(realtime.publish(("c", "t"), number))
    for number in range(20):
        run(listen(realtime))
    server.until_sync(lambda stats: stats.open_connections == 0)
    print(descriptors() - before <= 1)  # the server may not have closed its end of the last one
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("run", ["asyncio.run", "anyio.run", "async_to_sync", "close", "loop.close"])
def test_nothing_is_left_of_event_loops_that_are_closed(run: str) -> None:
    """Without waiting for the garbage collector, and without a warning."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", RUNS, run], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if " took " not in line]
    assert (done.returncode, done.stdout, complaints) == (0, "True\n", [])
