"""What stands in for threads under gevent, in a process in which gevent has replaced nothing."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from inngest_realtime_core._concurrency.greenlets import GreenletWaiter, NativeLoop, patched_gevent

gevent = pytest.importorskip("gevent")
pytest.importorskip("gevent.monkey")


def test_gevent_that_has_replaced_nothing_is_none() -> None:
    assert patched_gevent() is None


def test_a_greenlet_waits_for_another_thread() -> None:
    def wait() -> tuple[bool, bool, list[str]]:
        waiter = GreenletWaiter(gevent)
        ran: list[str] = []
        # Others run meanwhile.
        beside = gevent.spawn(lambda: ran.append("beside"))
        too_early = waiter.wait(0.01)
        timer = threading.Timer(0.02, waiter.set_result, (None,))
        timer.start()
        done = waiter.wait(5)
        timer.join()
        beside.join()
        assert waiter.done()
        assert waiter.wait(0), "it is done already"
        return too_early, done, ran

    # The hub of a thread of its own: that of the main thread belongs to nobody here.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(wait).result(10) == (False, True, ["beside"])


def test_the_loop_of_a_native_thread_runs_sync_calls_in_native_threads() -> None:
    async def work() -> int:
        loop = asyncio.get_running_loop()
        here = threading.get_ident()
        assert await loop.run_in_executor(None, threading.get_ident) != here
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        late = loop.run_in_executor(None, threading.Event().wait, 0.05)
        late.cancel()
        await asyncio.sleep(0.1)  # what comes of a call that nobody waits for any more is left alone
        return 5

    loop = NativeLoop()
    try:
        assert loop.run_until_complete(work()) == 5
    finally:
        loop.close()
