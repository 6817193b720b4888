"""What a `Realtime` is doing, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stats"]


@dataclass(frozen=True)
class Stats:
    """A look at a `Realtime`, over all its event loops.

    Attributes:
        sockets: WebSockets to Inngest that are open.
        subscriptions: Subscriptions that are open.
        channels: Channels that are kept, those included whose last reader left a short while ago.
        received: Messages received from Inngest.
        delivered: Messages given to readers; one for three readers counts three times.
        dropped: Messages that went because a reader was slow.
        gaps: Times that readers may have missed something.
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
