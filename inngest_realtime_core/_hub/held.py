"""What comes on a channel while it is being found out what was missed before it."""

from __future__ import annotations

from typing import Final

from ..messages.envelope import Envelope

_MAX_MESSAGES: Final = 1_024
_MAX_BYTES: Final = 4 * 1024 * 1024  # of payload


class HeldMessages:
    """Messages in the order in which they came.

    Attributes:
        envelopes: The messages.
        held_bytes: Bytes of payload.
        whole: Whether none was dropped.
    """

    __slots__ = ("envelopes", "held_bytes", "whole")

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.held_bytes: int = 0
        self.whole: bool = True

    def add(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)
        self.held_bytes += envelope.size

    @property
    def full(self) -> bool:
        """Whether more than this is not worth holding for what was missed."""
        return len(self.envelopes) > _MAX_MESSAGES or self.held_bytes > _MAX_BYTES

    def drop(self, size: int) -> None:
        """Drops everything: those who read are told of one gap, however much is dropped."""
        self.whole = self.whole and not self.envelopes
        self.envelopes.clear()
        self.held_bytes = 0
