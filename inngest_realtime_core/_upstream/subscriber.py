"""A channel that rides on an upstream, as the upstream sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, Protocol

from ..errors import RealtimeError
from ..messages.envelope import Envelope
from ..messages.message import GapReason

State = Literal["connecting", "open", "reconnecting", "closed"]


class ChannelSubscriber(Protocol):
    """A channel that rides on an upstream."""

    @property
    def channel(self) -> str: ...
    @property
    def topics(self) -> Iterable[str]:
        """What it asks for."""
        ...

    @property
    def confirmed(self) -> Collection[str]:
        """What it was proved to get, at some time."""
        ...

    def confirm(self, topics: Iterable[str]) -> None:
        """Called when Inngest is proved to deliver these topics."""

    def receive(self, envelope: Envelope) -> None:
        """Called with each message of the channel."""

    def recent(self, seconds: float) -> Iterable[Envelope]:
        """What it has received in this time, as far as it is kept."""
        ...

    def lost(self) -> None:
        """Called when a lost connection is there again: a gap, and the end of all data streams."""

    def gap(self, reason: GapReason, missed: int | None = None) -> None:
        """Called when messages may have been missed, before what is received next."""

    def interrupted(self, stream_id: str) -> None:
        """Called when the rest of a data stream will not come."""

    def report(self, error: RealtimeError) -> None:
        """Called when a message could not be delivered, and when the connection was lost."""

    def fail(self, error: RealtimeError) -> None:
        """Called when nothing more will come."""

    def state_changed(self, state: State) -> None:
        """Called with each new state of the connection."""
