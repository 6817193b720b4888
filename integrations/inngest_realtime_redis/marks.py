"""What Redis is told of channels: that one is followed from now on, or that it may have missed some of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

__all__ = ["Marks"]

_RENEW: Final = 1_200.0  # seconds between two marks that a channel is followed; Redis keeps them for an hour


class _Taken(NamedTuple):
    """Marks that are being sent.

    Attributes:
        marks: By channel, `followed` or `mixed`.
        waiting: By channel, who waits for the reply.
    """

    marks: Mapping[str, str]
    waiting: Mapping[str, Sequence[asyncio.Future[int]]]


class Marks:
    """The marks of one event loop's channels that are still to be sent.

    Attributes:
        created: By channel that is followed, what tells its numbers from those that another Redis gives.
        asked: By channel, done when it is no longer being asked what later numbers are greater than.
    """

    def __init__(self) -> None:
        self.created: dict[str, int] = {}
        self.asked: dict[str, asyncio.Future[None]] = {}
        self._marks: dict[str, str] = {}
        self._waiting: dict[str, list[asyncio.Future[int]]] = {}
        self._followed: dict[str, float] = {}  # when each channel was marked last

    def __bool__(self) -> bool:
        return bool(self._marks)

    def follow(self, channel: str) -> None:
        self._marks.setdefault(channel, "followed")
        self._followed[channel] = time.monotonic()

    @contextmanager
    def asking(self, channel: str) -> Generator[None]:
        """Called while a channel is being covered: whoever is subscribed and publishes is to get a later number."""
        asked = self.asked[channel] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            asked.set_result(None)
            if self.asked.get(channel) is asked:
                del self.asked[channel]

    def cover(self, channel: str) -> asyncio.Future[int]:
        """The same. The future is for what later numbers are greater than; 0 when Redis does not tell."""
        self.follow(channel)
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(channel, []).append(reply)
        return reply

    def leave(self, channel: str) -> None:
        self._followed.pop(channel, None)
        self.created.pop(channel, None)

    def mix(self, channels: Iterable[str]) -> None:
        """Called with channels of which Redis may not have been told everything."""
        self._marks.update(dict.fromkeys(channels, "mixed"))

    def renew(self) -> None:
        """Have the channels marked again that were marked long ago."""
        now = time.monotonic()
        for channel in [channel for channel, marked in self._followed.items() if now - marked >= _RENEW]:
            self.follow(channel)

    def take(self) -> _Taken:
        """Take what is to be sent."""
        taken = _Taken(self._marks, self._waiting)
        self._marks, self._waiting = {}, {}
        return taken

    def replied(self, taken: _Taken, channel: str, reply: Sequence[int]) -> None:
        """Called with what a script has returned: what `created` is, and what later numbers are greater than."""
        if channel in self._followed:
            self.created[channel] = reply[0]
        _resolve(taken.waiting.get(channel, ()), reply[1])

    def failed(self, taken: _Taken) -> None:
        """Called when they could not be sent."""
        followed = [channel for channel, mark in taken.marks.items() if mark == "followed"]
        self._marks = {**dict.fromkeys(followed, "followed"), **self._marks}
        self.mix(taken.marks.keys() - set(followed))
        for waiting in taken.waiting.values():
            _resolve(waiting, 0)


def _resolve(waiting: Iterable[asyncio.Future[int]], reply: int) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(reply)
