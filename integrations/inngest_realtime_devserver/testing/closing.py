"""A `Realtime` that is closed from outside of its event loops."""

from __future__ import annotations

import asyncio

from inngest_realtime_core.realtime import Realtime

__all__ = ["TestRealtime"]

_TIMEOUT = 5.0  # seconds for one event loop


class TestRealtime(Realtime):
    """A `Realtime` for one test, whichever tools run its event loops."""

    __test__ = False  # pytest takes classes of this name for tests

    def close_everywhere(self) -> None:
        """Close it on every event loop that it has been used on and that is not closed yet. It blocks.

        Tools that run tests differ in when they close a test's loop: before fixtures end, or after.
        """
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for loop in self._sessions.loops():
            if loop.is_running() and loop is not here:
                asyncio.run_coroutine_threadsafe(self.close(), loop).result(_TIMEOUT)
            elif not loop.is_running() and not loop.is_closed() and here is None:
                loop.run_until_complete(self.close())
