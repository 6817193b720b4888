"""What is kept of a channel, and where: the limits, and the interface that memory and Redis fill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from .._api.claims import TokenClaims
from ..arguments import check_count, check_flag, check_seconds
from ..messages.envelope import Envelope
from ..settings import Settings
from ..stats import ReplayHealth
from .event_ids import Cursor, EventIds
from .numbers import Clock, Numbers


class Replay(msgspec.Struct, frozen=True):
    """How much of a channel is kept in this process for those who come back or come late.

    Attributes:
        size: Messages kept at most.
        max_age: Seconds that a message is kept at most.
        max_bytes: Bytes of payload kept at most.
        published: Whether what this process publishes is kept, too, for those who subscribe afterwards.

    Raises:
        ConfigurationError: A limit is negative, or not a number.
    """

    size: int = 256
    max_age: float = 60.0
    max_bytes: int = 4 * 1024 * 1024
    published: bool = True

    def __post_init__(self) -> None:
        check_count("size of a replay", self.size, least=0, of="messages")
        check_seconds("max_age of a replay", self.max_age)
        check_count("max_bytes of a replay", self.max_bytes, least=0, of="bytes")
        check_flag("published of a replay", self.published)


class Numbered(msgspec.Struct, frozen=True):
    """What is known of the numbers that a log for all processes gives to messages.

    Attributes:
        created: When it began to give them. It tells them from those that another one gives.
        since: The largest number of a message that is not kept any more.
        of: By identity, the number of each message that is kept, and of the one before it in its topic.
        given: The number given last.
        last: By topic, the number given last to a message that was not withdrawn.
    """

    created: int
    since: int
    given: int
    of: Mapping[str, tuple[int, int]]
    last: Mapping[str, int]

    def since_of(self, topic: str) -> int:
        """All of a topic that has a greater number is kept."""
        return min(max(self.since, self.created), self.last.get(topic, self.created))

    def reaches(self, numbers: Numbers, topic: str) -> bool:
        """Whether all of a topic is kept but for some of these numbers."""
        return numbers.low >= self.since_of(topic)


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a channel beside the log of whoever asks.

    Attributes:
        messages: What was published, in order; each with when, or when it was received where that is not known, by
            `time.monotonic()`.
        whole: Whether these are all messages of the channel from the first of them on.
        since: From when on they are, by `time.monotonic()`.
        clock: That of where they are kept; None where it is this process's. Each message was published at most `error`
            seconds earlier than is said here.
        numbers: Of messages that all processes know; None where there is nothing for all of them.
        ambiguous: The identities of messages that do not tell what a client has had which had them last.
    """

    messages: Sequence[tuple[float, Envelope]]
    whole: bool
    since: float
    clock: Clock | None = None
    numbers: Numbered | None = None
    ambiguous: Collection[str] = ()


class History(Protocol):
    """What is kept beside the logs of one event loop's channels.

    Attributes:
        shared: Whether other processes add to it.
    """

    shared: bool

    def follow(self, channel: str) -> None:
        """Called when this process is subscribed; again after something may have been missed."""

    async def cover(self, channel: str) -> int:
        """What the numbers given from now on are greater than; 0 when that is not known."""
        ...

    def created(self, channel: str) -> int:
        """Tells the numbers that are given to the channel's messages from those that another log gives."""
        ...

    @property
    def clock(self) -> Clock:
        """That of where numbers are given."""
        ...

    def add(self, envelope: Envelope, before: Envelope | None) -> None:
        """Called with what is received without a number, or in another order than recorded. Returns at once.

        Args:
            before: What was received before it in its topic.
        """

    def leave(self, channel: str, received: Sequence[Envelope], *, mixed: bool, since: float) -> None:
        """Called when this process is no longer subscribed.

        Args:
            received: What its log has, in order.
            mixed: Whether something was received that was not published through this package.
            since: From when on all that the log had is in `received`, by `time.monotonic()`.
        """

    def load_now(self, channel: str, received: Sequence[Envelope], *, mixed: bool) -> Kept | None:
        """What is kept of a channel; None where `load` has to be awaited for that."""
        ...

    async def load(
        self,
        channel: str,
        received: Sequence[Envelope],
        *,
        mixed: bool,
        cursor: Cursor | None = None,
        topics: Collection[str] = (),
    ) -> Kept | None:
        """What is kept of a channel; None when that cannot be known.

        Args:
            received: What the log of whoever asks has.
            mixed: As for `leave`.
            cursor: Where a client has left off; None is returned at once when that is not kept.
            topics: Those that the client wants.
        """
        ...

    async def publish(self, envelope: Envelope) -> Sequence[int] | None:
        """Record a message that is about to be sent; returns its number, as `Envelope.sequence`, if it has one."""

    async def withdraw(self, envelope: Envelope) -> None:
        """Called when Inngest has refused a message that was recorded."""

    def publish_unidentified(self, channel: str) -> None:
        """Called before something is sent to a channel that is not recorded."""

    def health(self) -> ReplayHealth | None:
        """Whether what is kept elsewhere can be reached; None where nothing is. Callable from any thread."""

    async def ready(self, patience: float = 0.5) -> None:
        """Returns when event ids can be made that every process understands, or after so many seconds."""

    async def close(self) -> None:
        """Record what waits, as far as that is possible soon, and disconnect."""


@runtime_checkable
class SharedReplay(Protocol):
    """Where a log is kept for all processes, such as `inngest_realtime_redis.RedisReplay`."""

    @property
    def local(self) -> Replay:
        """How much this process keeps besides."""
        ...

    def open(self, settings: Settings, claims: Callable[[], Awaitable[TokenClaims]], event_ids: EventIds) -> History:
        """Connect on the running event loop.

        Args:
            settings: Where Inngest is.
            claims: Finds out the environment and the account.
            event_ids: Given a key that all processes share, where there is no signing key.
        """
        ...
