"""What is kept of a channel, and where: the limits, and the interface that memory and Redis fill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from .._api.claims import TokenClaims
from .._upstream.liveness import Liveness
from ..arguments import check_count, check_flag, check_seconds
from ..messages.envelope import Envelope
from ..settings import Settings
from ..stats import ReplayHealth
from .event_ids import EventIds

_LAG: Final = 1.0  # seconds after Inngest has taken a message, within which all receive it who are subscribed


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


class Kept(NamedTuple):
    """What is kept of a channel beside the log of whoever asks.

    Attributes:
        messages: What was received, in the order of receipt, then what is pending, in the order of publication; each
            with when it was published, or received where that is not known, by `time.monotonic()`.
        whole: Whether these are all messages of the channel from the first of them on.
        since: From when on they are, by `time.monotonic()`.
        clock: Seconds that the clock of where they are kept is ahead of `time.monotonic()`; None where it is not known.
        pending: The identities of messages that nobody is known to have received, and that may still be received.
        taken: By identity, when it became known of a message that it was on its way to subscribers.
    """

    messages: Sequence[tuple[float, Envelope]]
    whole: bool
    since: float
    clock: float | None = None
    pending: Collection[str] = frozenset()
    taken: Mapping[str, float] = {}


def arrange(
    published: Iterable[tuple[float, float, bool, Envelope]], now: float
) -> tuple[list[tuple[float, Envelope]], frozenset[str], dict[str, float]]:
    """Put what is kept in the order of `Kept.messages`; returns it, what of it is pending, and when each was taken.

    Args:
        published: In the order in which it became known that each is on its way to subscribers, because one had it or
            Inngest had taken it; then the others. Of each: when it was recorded; when it became known, or infinity;
            whether somebody has received it; and the message.
        now: By the same clock.
    """
    messages: list[tuple[float, Envelope]] = []
    pending: list[tuple[float, Envelope]] = []
    newest: dict[str, float] = {}  # when the last one that follows in each topic was recorded, of those received
    taken_at: dict[str, float] = {}
    for at, taken, is_received, envelope in reversed(list(published)):
        topic = envelope.topic
        taken_at[envelope.identity] = taken
        if is_received:
            newest[topic] = max(at, newest.get(topic, at))
        # Others that were on their way at the same time may still be received before it.
        is_settled = is_received or taken <= now - _LAG or taken <= newest.get(topic, float("-inf"))
        (messages if is_settled else pending).append((at, envelope))
    identities = frozenset(envelope.identity for _, envelope in pending)
    return [*reversed(messages), *reversed(pending)], identities, taken_at


class History(Protocol):
    """What is kept beside the logs of one event loop's channels.

    Attributes:
        shared: Whether other processes add to it.
    """

    shared: bool

    def follow(self, channel: str, topics: Collection[str], proving: Callable[[], bool]) -> None:
        """Called when this process is subscribed to these topics; again after something may have been missed.

        Args:
            proving: Whether there is one connection to Inngest, alive as far as is known.
        """

    def add(self, envelope: Envelope) -> None:
        """Called with each message that is received, where it is shared. Returns at once."""

    def leave(self, channel: str, received: Sequence[Envelope], *, mixed: bool) -> None:
        """Called when this process is no longer subscribed.

        Args:
            received: What its log has, in order.
            mixed: Whether something was received that was not published through this package.
        """

    def load_now(self, channel: str, received: Sequence[Envelope], *, mixed: bool) -> Kept | None:
        """What is kept of a channel; None where `load` has to be awaited for that."""
        ...

    async def load(self, channel: str, received: Sequence[Envelope], *, mixed: bool, name: str = "") -> Kept | None:
        """What is kept of a channel; None when that cannot be known.

        Args:
            received: What the log of whoever asks has.
            mixed: As for `leave`.
            name: The identity of a message without which the rest is of no use; None is returned at once when it is
                not kept.
        """
        ...

    async def publish(self, envelope: Envelope) -> None:
        """Record a message that is about to be sent."""

    async def withdraw(self, envelope: Envelope) -> None:
        """Called when Inngest has refused a message that was recorded."""

    def sent(self, envelope: Envelope) -> None:
        """Called when Inngest has taken a message that was recorded: whoever receives it does so within a moment."""

    def publish_unidentified(self, channel: str) -> None:
        """Called before something is sent to a channel that is not recorded."""

    def health(self) -> ReplayHealth | None:
        """Whether what is kept elsewhere can be reached; None where nothing is. Callable from any thread."""

    async def ready(self) -> None:
        """Returns when event ids can be made that every process understands, or when that takes too long."""

    async def close(self) -> None:
        """Record what waits, as far as that is possible soon, and disconnect."""


@runtime_checkable
class SharedReplay(Protocol):
    """Where a log is kept for all processes, such as `inngest_realtime_redis.RedisReplay`."""

    @property
    def local(self) -> Replay:
        """How much this process keeps besides."""
        ...

    def open(
        self, liveness: Liveness, settings: Settings, claims: Callable[[], Awaitable[TokenClaims]], event_ids: EventIds
    ) -> History:
        """Connect on the running event loop.

        Args:
            liveness: How connections to Inngest are kept alive: it says for how long a dead one goes unnoticed.
            settings: Where Inngest is.
            claims: Finds out the environment and the account.
            event_ids: Given a key that all processes share, where there is no signing key.
        """
        ...
