"""What a channel remembers, and where: the limits, and the interface that a log shared by all processes fills."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .._upstream.liveness import Liveness
from ..messages.envelope import Envelope
from ..messages.message import GapReason

__all__ = ["Replay", "SharedLog", "SharedReplay"]


@dataclass(frozen=True)
class Replay:
    """How much of a channel is kept in this process for web clients that reconnect.

    Attributes:
        size: Messages kept at most.
        max_age: Seconds that a message is kept at most.
        max_bytes: Bytes of payload kept at most.
    """

    size: int = 256
    max_age: float = 60.0
    max_bytes: int = 4 * 1024 * 1024


class SharedReplay(Protocol):
    """Where a log is kept for all processes, such as `inngest_realtime_redis.RedisReplay`."""

    @property
    def local(self) -> Replay:
        """How much this process keeps besides."""
        ...

    def open(self, liveness: Liveness) -> SharedLog:
        """Connect on the running event loop.

        Args:
            liveness: How connections to Inngest are kept alive: it says for how long a dead one goes unnoticed.
        """
        ...


class SharedLog(Protocol):
    """The connection of one event loop to a log that all processes share."""

    def begin(self, channel: str, topics: Iterable[str], proving: Callable[[], bool]) -> None:
        """Called when this process is subscribed to these topics; again after something may have been missed.

        Args:
            proving: Whether there is one connection to Inngest, alive as far as is known.
        """

    def add(self, envelope: Envelope) -> None:
        """Record a message. Returns at once."""

    def end(self, channel: str) -> None:
        """Called when this process is no longer subscribed."""

    async def since(
        self, channel: str, event_id: str, topics: Collection[str]
    ) -> Sequence[tuple[Envelope | GapReason, str]] | None:
        """What came after an event id, in order, each with its own; None when something may be missing."""
        ...

    async def close(self) -> None:
        """Record what waits, as far as that is possible soon, and disconnect."""
