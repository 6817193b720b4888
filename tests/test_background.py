from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from inngest_realtime_core._concurrency.background import run_coroutine, run_sync, run_sync_with
from inngest_realtime_core.errors import RealtimeError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


def script(code: str, inngest: DevServer, *, measured: bool = True) -> str:
    """What a process of its own prints that runs the code, in which coverage is measured where it is here."""
    kept = {name: value for name, value in os.environ.items() if measured or not name.startswith("COV")}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**kept, "INNGEST_DEV": inngest.url},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_calls_of_all_threads_share_one_loop() -> None:
    async def here() -> tuple[asyncio.AbstractEventLoop, int]:
        return asyncio.get_running_loop(), threading.get_ident()

    found: list[Any] = [run_sync(here)]
    threads = [threading.Thread(target=lambda: found.append(run_sync(here))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9
    assert len(set(found)) == 1


async def joined(parts: AsyncIterator[str]) -> str:
    return "".join([part async for part in parts])


def test_parts_are_taken_in_the_calling_thread_one_when_it_is_asked_for() -> None:
    taken: list[tuple[str, int]] = []

    def parts() -> Iterator[str]:
        for part in "abc":
            taken.append((part, threading.get_ident()))
            assert run_sync(lambda: asyncio.sleep(0, "the loop is free")) == "the loop is free"
            yield part

    async def first_two(parts: AsyncIterator[str]) -> str:
        assert not taken
        return await anext(parts) + await anext(parts)

    assert run_sync_with(first_two, parts()) == "ab"
    assert taken == [("a", threading.get_ident()), ("b", threading.get_ident())]
    taken.clear()
    assert run_sync_with(joined, parts()) == "abc"


def test_what_taking_a_part_raises_is_raised_where_it_was_asked_for() -> None:
    def parts() -> Iterator[str]:
        yield "a"
        raise LookupError("no more")

    async def until_error(parts: AsyncIterator[str]) -> str:
        text = await anext(parts)
        with pytest.raises(LookupError, match="no more"):
            await anext(parts)
        return text

    assert run_sync_with(until_error, parts()) == "a"
    with pytest.raises(LookupError, match="no more"):
        run_sync_with(joined, parts())


def test_an_interruption_while_a_part_is_taken_cancels_the_call() -> None:
    ended = threading.Event()

    def parts() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    async def consume(parts: AsyncIterator[str]) -> None:
        try:
            async for _ in parts:
                pass
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_sync_with(consume, parts())
    assert ended.wait(5)


def test_errors_come_to_the_caller() -> None:
    async def fails() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        run_sync(fails)


def test_a_call_on_the_loop_itself_is_refused() -> None:
    async def nested() -> None:
        run_sync(lambda: asyncio.sleep(0))

    with pytest.raises(RealtimeError, match="wait for ever"):
        run_sync(nested)


def test_an_interrupted_call_is_cancelled() -> None:
    cancelled = threading.Event()

    async def waits() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        run_sync(waits)
    assert cancelled.wait(5)


def test_a_coroutine_has_a_loop_and_the_thread_of_its_caller() -> None:
    async def where() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    assert run_coroutine(where()) == threading.get_ident()


def test_the_child_of_a_fork_has_a_loop_of_its_own(inngest: DevServer) -> None:
    """A parent with an open subscription forks; both subscribe, publish and receive, and neither disturbs the other."""
    code = """
import os, threading
from inngest_realtime_core import Realtime

realtime = Realtime()

def round_trip(name):
    with realtime.subscribe_sync(channel=name, topics=["t"]) as subscription:
        realtime.publish_sync((name, "t"), name)
        return subscription.receive(5).data

with realtime.subscribe_sync(channel="parent", topics=["t"]) as subscription:
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            ok = round_trip(f"child-{number}") == f"child-{number}" and realtime.stats().sockets == 1
            realtime.close_sync()
            names = sorted(thread.name for thread in threading.enumerate())
            os._exit(0 if ok and names == ["MainThread", "inngest-realtime"] else 1)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    realtime.publish_sync(("parent", "t"), "still here")
    print(codes, subscription.receive(5).data)
realtime.close_sync()
"""
    # Python 3.12 warns of any fork in a process with threads; prefork servers do it all the same.
    ignore = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
    assert script(ignore + code, inngest) == "[0, 0, 0, 0] still here\n"


def test_a_fork_may_come_while_other_threads_are_at_it(inngest: DevServer) -> None:
    code = """
import os, signal, sys, threading
from inngest_realtime_core import Realtime

realtime = Realtime()
realtime.publish_sync(("c", "t"), 1)
stop = threading.Event()

def look():
    while not stop.is_set():
        realtime.stats()

sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=look) for _ in range(3)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(40):
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)  # kills a child that hangs
        realtime.publish_sync(("c", "t"), 1)
        os._exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if codes != {0}:
        break
stop.set()
print(codes)
"""
    ignore = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
    assert script(ignore + code, inngest) == "{0}\n"


def test_the_child_of_a_fork_counts_from_nothing(inngest: DevServer) -> None:
    code = """
import os
from inngest_realtime_core import Realtime

realtime = Realtime()
with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
    realtime.publish_sync(("c", "t"), 1)
    subscription.receive(5)
    pid = os.fork()
    if pid == 0:
        stats = realtime.stats()
        print(stats.sockets, stats.subscriptions, stats.channels, stats.received, stats.delivered, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    stats = realtime.stats()
    print(stats.sockets, stats.subscriptions, stats.channels, stats.received, stats.delivered)
realtime.close_sync()
"""
    ignore = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
    assert script(ignore + code, inngest) == "0 0 0 0 0\n1 1 1 1 1\n"


def test_greenlets_wait_without_holding_each_other_up(inngest: DevServer) -> None:
    code = """
from gevent import monkey; monkey.patch_all()
import asyncio, threading, time
import gevent
from inngest_realtime_core import Realtime
from inngest_realtime_core._concurrency.background import run_coroutine

realtime = Realtime()
seen = []

def listen(number):
    with realtime.subscribe_sync(channel=f"c{number % 3}", topics=["t"]) as subscription:
        ready.append(number)
        seen.append(subscription.receive(10).data)
        try:
            subscription.receive(0.05)
        except TimeoutError:
            seen.append("timeout")

async def own():
    await asyncio.sleep(0.01)
    return "own loop"

ready = []
greenlets = [gevent.spawn(listen, number) for number in range(30)]
while len(ready) < 30:
    gevent.sleep(0.005)
assert asyncio.run(own()) == "own loop"
assert [task.get() for task in [gevent.spawn(run_coroutine, own()) for _ in range(5)]] == ["own loop"] * 5
for number in range(3):
    realtime.publish_sync((f"c{number}", "t"), number)
gevent.joinall(greenlets, timeout=10, raise_error=True)
with gevent.Timeout(0.1, False), realtime.subscribe_sync(channel="quiet", topics=["t"]) as subscription:
    subscription.receive()
print(sorted(map(str, seen)) == sorted(["0", "1", "2", "timeout", "timeout", "timeout"] * 10), realtime.stats().subscriptions)
realtime.close_sync()
"""  # noqa: E501
    assert script(code, inngest) == "True 0\n"


def test_what_waits_in_threads_ends_with_close(inngest: DevServer) -> None:
    realtime = Realtime(api_base_url=inngest.url)
    ended: list[float] = []

    def listen() -> None:
        for _ in realtime.subscribe_sync(channel="closing", topics=["t"]):
            pass
        ended.append(time.monotonic())

    threads = [threading.Thread(target=listen) for _ in range(10)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while realtime.stats().subscriptions < 10:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    realtime.close_sync()
    for thread in threads:
        thread.join(5)
    assert len(ended) == 10


def test_what_the_parent_has_open_is_not_waited_for_in_the_child_of_a_fork(inngest: DevServer) -> None:
    """Nothing would ever come: a web server's worker reads what the application has opened before the fork."""
    code = """
import os, signal
from inngest_realtime_core import Realtime, SubscriptionClosedError

realtime = Realtime()
with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
    messages = subscription.get_json_stream()
    encoded = subscription.get_encoded_stream()
    realtime.publish_sync(("c", "t"), 1)
    reads = [
        subscription.receive,
        lambda: next(iter(subscription)),
        lambda: next(messages),
        lambda: next(encoded),
        lambda: next(subscription.get_json_stream()),
        lambda: next(subscription.get_encoded_stream()),
    ]
    subscription.receive(5)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # kills a child that hangs
        for read in reads:
            try:
                read()
            except SubscriptionClosedError as error:
                print("before this process was forked" in str(error), flush=True)
        subscription.close()
        realtime.close_sync()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(next(messages).data, next(encoded)[:5], subscription.closed)
realtime.close_sync()
"""
    ignore = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
    assert script(ignore + code, inngest) == "True\n" * 6 + "0\n1 b'data:' False\n"


def test_the_interpreter_ends_with_a_subscription_open(inngest: DevServer) -> None:
    """What the module holds is released when the background loop runs no more: nobody waits for that."""
    code = """
from inngest_realtime_core import Realtime, RealtimeError

realtime = Realtime()

def messages():
    with realtime.subscribe_sync(channel="c", topics=["t"], rewind=1) as subscription:
        yield from subscription

class Service:
    def __init__(self):
        self.realtime = realtime

    def __del__(self, error=RealtimeError):
        try:
            self.realtime.close_sync()
        except error as late:
            print(late)

service = Service()
realtime.publish_sync(("c", "t"), 1)
following = messages()
print(next(following).data)
"""
    # A measurement of coverage would keep the script's objects to the end.
    printed = script(code, inngest, measured=False)
    assert printed == "1\nThe interpreter is ending, too late for a sync call. Close with `with`, or by atexit.\n"
