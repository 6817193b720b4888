"""What a reader's buffer belongs to, where there is no subscription."""

from __future__ import annotations

from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core.messages.data_stream import DataStream


class Owner:
    """Keeps what it is told.

    Attributes:
        left: The readers that have left.
        unread_times: How often it was told that nobody reads.
    """

    def __init__(self) -> None:
        self.left: list[ReaderBuffer] = []
        self.unread_times = 0

    def detached(self, buffer: ReaderBuffer) -> None:
        self.left.append(buffer)

    def unread(self) -> None:
        self.unread_times += 1

    def opened(self, stream: DataStream) -> None:
        pass
