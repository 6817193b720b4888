"""How long readers may hold up what comes from Inngest: briefly, so that a burst costs no message, and never for long.

A reader that keeps up can still fall behind for milliseconds: a thread waits for the interpreter's lock, a task for its
turn. Waiting for it is cheaper than losing messages. But Inngest itself stalls when a subscriber does not read, so the
time is rationed: whoever the readers are, a connection is never held up to less than 20,000 messages a second.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

POLL: Final = 0.001
"""Seconds after which to ask again whether to pause."""

_LONGEST: Final = 0.05  # seconds in a row
_SHARE: Final = 1 / 20_000  # seconds earned with each message


class Reader(Protocol):
    """Who may be waited for."""

    @property
    def is_behind(self) -> bool:
        """Whether its buffer is still too full."""
        ...

    def caught_up(self) -> None:
        """Called when it is not waited for any longer, because it has caught up."""

    def given_up(self) -> None:
        """Called when it is not waited for any longer, though it has not caught up."""


class Throttle:
    """Shared by the connections and the readers of one event loop.

    Attributes:
        behind: The readers that are about to lose messages, and that are worth waiting for.
    """

    __slots__ = ("_credit", "_since", "behind")

    def __init__(self) -> None:
        self.behind: list[Reader] = []
        self._credit = _LONGEST
        self._since: float | None = None

    def credit(self, messages: int) -> None:
        """Called when so many messages were handled."""
        self._credit = min(_LONGEST, self._credit + messages * _SHARE)

    def should_pause(self) -> bool:
        """Whether to handle nothing for the moment, so that readers can catch up."""
        now = time.monotonic()
        if self._since is not None:
            # Never below nothing: the connection that paused may have been closed long ago.
            self._credit = max(0.0, self._credit - (now - self._since))
        still = [reader for reader in self.behind if reader.is_behind]
        pausing = bool(still) and self._credit > 0
        for reader in self.behind:
            if reader not in still:
                reader.caught_up()
            elif not pausing:
                reader.given_up()
        self.behind = still if pausing else []
        self._since = now if pausing else None
        return pausing
