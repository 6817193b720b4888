from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from inngest_realtime_core import Realtime, ShuttingDownError
from inngest_realtime_core._shutdown.signals import end_streams_on_signals
from inngest_realtime_devserver.server import DevServer
from talk import eventually

# As a threaded worker of gunicorn: its signal handler raises SystemExit on the main thread, and Python then waits for
# the threads of the pool. A signal may come before the main thread was asked to put our handler before that one.
POOL = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from inngest_realtime_core import Realtime

realtime = Realtime()
began = threading.Semaphore(0)

def serve():
    with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
        for part in subscription.get_event_stream(heartbeat=0.1):
            began.release()
    sys.stdout.write("ended\\n")  # at one go: two threads do it

pool = ThreadPoolExecutor()
for _ in range(2):
    pool.submit(serve)
for _ in range(4):
    began.acquire()
sys.exit(3)
"""


def test_streams_in_pools_of_threads_do_not_keep_a_process_that_exits() -> None:
    began = time.monotonic()
    with DevServer().in_thread() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", POOL],
            env={**os.environ, "INNGEST_DEV": server.url},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stdout) == (3, "ended\nended\n"), done.stderr
    assert re.fullmatch(r"Process \d+ stops and ends its open event streams \(2\);[^\n]*\n", done.stderr)  # the log
    assert time.monotonic() - began < 10


WAITING = """
import signal
import threading
from inngest_realtime_core import Realtime

stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
realtime = Realtime()

def serve():
    with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
        for chunk in subscription.get_event_stream(heartbeat=1):
            print(chunk.decode().strip().splitlines()[-1], flush=True)

serving = threading.Thread(target=serve)
serving.start()
stopped.wait()
serving.join()
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython runs pending calls")
def test_a_main_thread_that_only_waits_hears_of_a_signal() -> None:
    """As that of a granian worker that serves WSGI: it runs nothing until the signal comes."""
    with DevServer().in_thread() as server:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WAITING],
            env={**os.environ, "INNGEST_DEV": server.url},
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith('data: {"kind":"ready"')
                process.terminate()
                assert process.stdout.readline() == 'data: {"kind":"closing"}\n'
                assert process.wait(10) == 0
            finally:
                process.kill()


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What a server's own handler of SIGTERM hears."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


class Failing:
    def begin_shutdown(self) -> None:
        raise RuntimeError("something that nobody thought of")


def test_a_server_hears_of_a_signal_although_ending_the_streams_fails(heard: list[int]) -> None:
    failing = Failing()
    assert end_streams_on_signals(failing)
    with pytest.raises(RuntimeError, match="nobody thought of"):
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


async def test_a_handler_that_a_server_has_put_since_is_found(
    heard: list[int], realtime: Realtime, channel: str
) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        first = subscription.get_event_stream()
        # As a worker of gunicorn does after the fork, when the application has streamed in the parent.
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(-number))
        second = subscription.get_event_stream()
        signal.raise_signal(signal.SIGTERM)
        assert realtime.is_shutting_down
        assert heard == [-signal.SIGTERM]
        for stream in (first, second):
            assert b"retry:" in [chunk async for chunk in stream][-1]


async def test_a_handler_that_is_set_while_a_stream_is_open_is_found(
    heard: list[int], realtime: Realtime, channel: str
) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        stream = subscription.get_event_stream()
        # As an application's own `loop.add_signal_handler`, and nothing else streams since.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.append, 1)
        theirs = signal.getsignal(signal.SIGTERM)
        await eventually(lambda: signal.getsignal(signal.SIGTERM) != theirs)
        signal.raise_signal(signal.SIGTERM)
        assert realtime.is_shutting_down
        assert b"closing" in [chunk async for chunk in stream][-1]
        await eventually(lambda: heard == [1])
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


def test_a_shutdown_begins_while_event_loops_come_and_go() -> None:
    """Views that are asynchronous under WSGI have one for each request, and a signal comes at any moment."""
    realtime = Realtime(api_base_url="http://127.0.0.1:9")
    stop = threading.Event()

    async def use() -> None:
        with contextlib.suppress(ShuttingDownError):
            await realtime.subscribe(channel="c", topics=["t"])

    def serve() -> None:
        while not stop.is_set():
            asyncio.run(use())

    realtime.begin_shutdown()
    staying = [asyncio.new_event_loop() for _ in range(200)]
    for loop in staying:
        loop.run_until_complete(use())
    threads = [threading.Thread(target=serve) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            realtime.begin_shutdown()
            for _ in range(20):
                realtime.stats()  # goes through the same event loops, and costs less
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()
        for loop in staying:
            loop.close()
