"""What was published on one server, kept for tests to look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .frames import Frame

__all__ = ["Record"]

MAX_BYTES = 64 * 1024 * 1024


class Record:
    """The newest frames that were published, in order, bounded in number and in bytes.

    Written on the server's loop, read from any thread.

    Args:
        size: Frames kept at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = 0
        self._frames: deque[bytes] = deque()

    def add(self, frame: Frame) -> None:
        """Keep a frame, and drop the oldest beyond the bounds."""
        if self._size:
            self._frames.append(frame.payload)
            self._bytes += len(frame.payload)
            while len(self._frames) > self._size or self._bytes > MAX_BYTES:
                self._bytes -= len(self._frames.popleft())

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._frames))
