"""What a `Realtime` is doing, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters", "Stats"]


@dataclass(frozen=True)
class Stats:
    """A look at a `Realtime`, over all its event loops.

    Attributes:
        sockets: WebSockets to Inngest that are open.
        subscriptions: Subscriptions that are open.
        channels: Channels that are kept, those included whose last reader left a short while ago.
        received: Messages received from Inngest.
        delivered: Messages that readers took, gaps left out; one that three readers took counts three times. What a
            client is sent again as it resumes counts as well; what waits in a buffer does not.
        dropped: Messages that were lost because a reader's buffer was full; one that three readers lost counts three
            times. What is collected for a subscription that nobody iterates is not lost.
        gaps: Gaps that readers took. A lost connection counts once for each reader that was told, and an overflow once
            for each gap that told of it, however many messages it stands for.
        reconnects: Connections that were lost and made again.
    """

    sockets: int
    subscriptions: int
    channels: int
    received: int
    delivered: int
    dropped: int
    gaps: int
    reconnects: int


class Counters:
    """What has happened so far, as `Stats` says it. Read from any thread."""

    # Not a struct: those are slow to assign to, and this is counted for every message.
    __slots__ = ("delivered", "dropped", "gaps", "received", "reconnects")

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.dropped = 0
        self.gaps = 0
        self.reconnects = 0
