"""When to try again: exponential backoff with full jitter, and a circuit that all connections share."""

from __future__ import annotations

import random
import time
from typing import Final

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
        """Note that a connection was established."""
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
