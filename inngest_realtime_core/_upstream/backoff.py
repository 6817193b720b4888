"""When to try again: exponential backoff with full jitter, and a gate before it that all connections share."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from .._telemetry.throttled_log import ThrottledLog
from ..stats import Counters

logger = logging.getLogger("inngest_realtime.upstream")

# Not the shared generator: its sequence, and its seed, are the application's.
_RANDOM: Final = random.SystemRandom()


class Backoff:
    """The delays of one connection's attempts.

    Args:
        base: Seconds; the first delay is between 0 and this.
        cap: Seconds; no delay is longer.
        settle: Seconds that a connection has to live before the delays start small again. A server that accepts and
            drops would be hammered if every success reset them.
    """

    def __init__(self, *, base: float = 0.25, cap: float = 30.0, settle: float = 10.0) -> None:
        self._base = base
        self._cap = cap
        self._settle = settle
        self._attempts = 0
        self._opened: float | None = None

    def opened(self) -> None:
        """Called when a connection was established."""
        self._opened = time.monotonic()

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt."""
        if self._opened is not None and time.monotonic() - self._opened >= self._settle:
            self._attempts = 0
        self._opened = None
        # Attempts beyond the cap's exponent change nothing, and a huge exponent would overflow.
        ceiling = min(self._cap, self._base * 2 ** min(self._attempts, 32))
        self._attempts += 1
        return _RANDOM.uniform(0, ceiling)


class RetryGate:
    """Closed while Inngest fails: it lets one attempt a second through, however many connections want to reconnect.

    Args:
        counters: Where connections and failures are counted.
        threshold: Failures in a row that close the gate.

    Attributes:
        outages: Where the loss and the return of connections are logged: an outage is that of all at once.
    """

    _SPACING: Final = (1.0, 1.5)  # seconds between two attempts while the retry gate is closed

    def __init__(self, counters: Counters | None = None, *, threshold: int = 5) -> None:
        self._counters = counters if counters is not None else Counters()
        self._threshold = threshold
        self.outages: ThrottledLog = ThrottledLog(logger, interval=1.0)
        self._failures = 0
        self._gate = asyncio.Lock()

    @property
    def closed(self) -> bool:
        return self._failures >= self._threshold

    @property
    def crowded(self) -> bool:
        """Whether somebody is waiting already for the next attempt while the retry gate is closed."""
        return self.closed and self._gate.locked()

    async def wait(self) -> None:
        """Return when an attempt may be made: at once while all is well."""
        if self.closed:
            async with self._gate:
                if self.closed:
                    await asyncio.sleep(_RANDOM.uniform(*self._SPACING))

    def succeeded(self) -> None:
        self._failures = 0
        self._counters.connected()

    def failed(self, error: BaseException | None = None) -> None:
        self._failures += 1
        if error is not None:
            self._counters.failed(error)
