"""How a connection to Inngest is kept alive."""

from __future__ import annotations


class Liveness:
    """How a connection is kept alive.

    Args:
        ping_interval: Seconds between two pings.
        ping_timeout: Seconds to wait for a pong, and for the proof of a subscription.
        open_timeout: Seconds to wait for the TCP, TLS and WebSocket handshakes together.
    """

    __slots__ = ("open_timeout", "ping_interval", "ping_timeout")

    def __init__(self, ping_interval: float = 10.0, ping_timeout: float = 10.0, open_timeout: float = 10.0) -> None:
        self.ping_interval: float = ping_interval
        self.ping_timeout: float = ping_timeout
        self.open_timeout: float = open_timeout
