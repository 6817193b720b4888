"""How subscriptions are kept, and where a channel's messages are asked for."""

from __future__ import annotations

from typing import Final

import msgspec

from .._replay.log import Replay, SharedReplay
from .._telemetry.secret_struct import SecretStruct
from .._upstream.liveness import Liveness

# Structs rather than dataclasses: making the class takes a fortieth of the time, which every import pays.


class HubOptions(SecretStruct, frozen=True):
    """How subscriptions are kept.

    Attributes:
        buffer_size: Messages held for each reader at most.
        buffer_bytes: Bytes of payload held for each reader at most.
        total_buffer_bytes: Bytes that wait for all readers together at most.
        linger: Seconds that a channel is kept after its last reader left.
        multiplex: Whether many channels ride on one socket.
        proxy: The proxy for HTTP and WebSocket; None follows the environment.
        replay: What is kept for web clients that reconnect, and where.
    """

    buffer_size: int = 1024
    buffer_bytes: int = 8 * 2**20
    total_buffer_bytes: int = 256 * 2**20
    linger: float = 30.0
    multiplex: bool = True
    proxy: str | None = None
    replay: Replay | SharedReplay = msgspec.field(default_factory=Replay)
    liveness: Liveness = msgspec.field(default_factory=Liveness)

    def __repr__(self) -> str:
        # A proxy's address may hold a password.
        return f"HubOptions(buffer_size={self.buffer_size}, linger={self.linger}, multiplex={self.multiplex})"


class Source(SecretStruct, frozen=True):
    """Where a channel's messages are asked for.

    Attributes:
        api_base_url: Another Inngest than the settings' one.
        key: A token issued elsewhere, used as long as it is valid.
    """

    api_base_url: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"Source(api_base_url={self.api_base_url!r}, key={'...' if self.key else None})"


OWN: Final = Source()
"""The application's own Inngest, with its own signing key."""
