"""One connection taking over from another: from before the new one exists until nothing of the old one matters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from .._api.tokens import Entry
from ..messages.envelope import Envelope
from .connection import Connection
from .merge import StreamMerge

__all__ = ["Handover"]

_OVERLAP: Final = 1.0  # seconds that an old connection is kept at least, for what is still on its way
_PATIENCE: Final = 5.0  # seconds that a message on the new connection waits for its twin on the old one
_ECHO: Final = 30.0  # seconds in which the new connection may still repeat what the old one delivered


class Handover:
    """The overlap of an old connection with its successor, and the echo after it.

    Args:
        old: The connection that is to be left. From now on it is watched: what both bring is then known.
        route: Takes each message that is to be delivered, once and in order.
        recent: What `old` delivered in the last two seconds: its successor may lag behind it, and repeat that.
        before: The handover that `old` came from, when it may still repeat what its own predecessor delivered.

    Attributes:
        old: The same.
    """

    def __init__(
        self,
        old: Connection,
        route: Callable[[Envelope], None],
        recent: Iterable[Envelope],
        before: Handover | None,
    ) -> None:
        self.old = old
        self._route = route
        self._before = before
        self._merge = StreamMerge(old.decoder.open_streams.values(), recent)
        self._deliver_before = old.deliver
        self._overlap_from: int | None = None
        self._since = time.monotonic()
        old.deliver = self._take_old

    def give_up(self) -> None:
        """There is no successor: the old connection delivers as it did."""
        self.old.deliver = self._deliver_before

    def begin(self, newcomers: Iterable[Entry]) -> None:
        """There is a successor, which has some topics to itself: the overlap begins."""
        self.adopt(newcomers)
        self._since = time.monotonic()

    def overlapped(self) -> None:
        """The old connection has answered since the successor delivers: what it received so far is to be awaited."""
        self._overlap_from = self.old.accepted

    def adopt(self, newcomers: Iterable[Entry]) -> None:
        """Let the successor lead at once for topics that the old connection never had."""
        self._merge.adopt(newcomers)

    def _take_old(self, envelope: Envelope) -> None:
        before = self._before
        for fresh in (envelope,) if before is None else before._merge.new(envelope):
            self._route_all(self._merge.old(fresh))

    def take_new(self, envelope: Envelope) -> None:
        """Take a message of the successor."""
        self._route_all(self._merge.new(envelope))

    def _route_all(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            self._route(envelope)

    @property
    def over(self) -> bool:
        """Whether the old connection can be left."""
        if self.old.lost:
            return True
        return self._drained and time.monotonic() - self._since >= _OVERLAP and self._merge.settled

    @property
    def _drained(self) -> bool:
        # A slow reader may leave messages waiting that only the old connection had.
        return self._overlap_from is not None and self.old.handled >= self._overlap_from

    def tend(self) -> float:
        """Give up on twins that have not come for long; returns the seconds until the next look is due."""
        if not self._drained or time.monotonic() - self._since < _PATIENCE:
            return _OVERLAP / 4
        self._route_all(self._merge.expire())
        return _OVERLAP

    @property
    def interrupted(self) -> list[Envelope]:
        """The starts of the data streams that only the old connection knows and that have not ended."""
        return self._merge.interrupted

    async def finish(self) -> None:
        """Leave the old connection. The successor leads everywhere, and may repeat what the old one delivered."""
        self.old.deliver = self._deliver_before = _ignore
        # Each would otherwise keep the one before it, and so all there have been.
        self._before = None
        self._route_all(self._merge.finish())
        self._since = time.monotonic()
        await self.old.close()

    @property
    def echo(self) -> float:
        """Seconds, once it is finished, in which the successor may still repeat something; 0 or less when none."""
        return self._since + _ECHO - time.monotonic()


def _ignore(envelope: Envelope) -> None:
    """Take no notice of what an abandoned connection still brings."""
