"""How a connection is kept alive."""

from __future__ import annotations

import msgspec


class Liveness(msgspec.Struct, frozen=True):
    """How a connection is kept alive.

    Attributes:
        ping_interval: Seconds between two pings.
        ping_timeout: Seconds to wait for a pong, and for the proof of a subscription.
        open_timeout: Seconds to wait for the TCP, TLS and WebSocket handshakes together.
    """

    ping_interval: float = 10.0
    ping_timeout: float = 10.0
    open_timeout: float = 10.0
