"""Lets few attempts through while Inngest fails, however many connections want to reconnect."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ..stats import Counters

# Not the shared generator: its sequence, and its seed, are the application's.
_RANDOM: Final = random.SystemRandom()


class Circuit:
    """Lets one attempt a second through while Inngest fails, however many connections want to reconnect.

    Args:
        counters: Where connections and failures are counted.
        threshold: Failures in a row that open the circuit.
    """

    _SPACING: Final = (1.0, 1.5)  # seconds between two attempts while the circuit is open

    def __init__(self, counters: Counters | None = None, *, threshold: int = 5) -> None:
        self._counters = counters if counters is not None else Counters()
        self._threshold = threshold
        self._failures = 0
        self._gate = asyncio.Lock()

    @property
    def open(self) -> bool:
        return self._failures >= self._threshold

    @property
    def crowded(self) -> bool:
        """Whether somebody is waiting already for the next attempt while the circuit is open."""
        return self.open and self._gate.locked()

    async def wait(self) -> None:
        """Return when an attempt may be made: at once while all is well."""
        while self.open:
            async with self._gate:
                if not self.open:
                    return
                await asyncio.sleep(_RANDOM.uniform(*self._SPACING))
                return

    def succeeded(self) -> None:
        self._failures = 0
        self._counters.connected()

    def failed(self, error: BaseException | None = None) -> None:
        self._failures += 1
        if error is not None:
            self._counters.failed(error)
