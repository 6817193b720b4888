"""The text that a publisher streams in chunks: what `message.stream` of a `datastream-start` message is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Final

from .._concurrency.background import check_may_block
from .._concurrency.threads import new_waiter
from ..errors import DataStreamInterruptedError

MAX_CHUNKS: Final = 10_000
"""Chunks that one data stream holds at most; ten times as many as Inngest lets a publisher send."""

MAX_BYTES: Final = 4 * 2**20
"""Bytes of memory that one data stream holds at most; four times as many as Inngest lets a publisher send."""


class _Chunks:
    """What has come of a data stream, shared by those who look at it through different subscriptions."""

    __slots__ = ("ended", "interrupted", "size", "texts", "wakers")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.size: int = 0
        self.ended: bool = False
        self.interrupted: str | None = None
        # Each wakes a reader, on whatever thread it is. There is no lock: adding and removing are atomic, and a reader
        # looks again after it has added its own.
        self.wakers: deque[Callable[[], object]] = deque()

    def wake(self) -> None:
        while self.wakers:
            with contextlib.suppress(RuntimeError):  # the reader's loop is closed, and its reader with it
                self.wakers.popleft()()


class DataStream:
    """The chunks of one data stream, from its start on, for any number of readers.

    Iterate it with `async for` on an event loop, or iterate `sync()` in a thread. Every reader sees every chunk,
    whenever it begins, so all are kept. An iterator goes on after a read that was cancelled or timed out. Inngest ends
    a stream after 1,000 chunks of at most 1,024 bytes, so one holds at most 1 MiB. Of a longer one, from a server
    without that limit, 10,000 chunks and 4 MiB are kept.

    It ends with the subscription that it came through, and does not keep that open.

    Raises (while iterating):
        DataStreamInterruptedError: Before the stream's end, the connection was lost, the subscription was closed, the
            stream grew too long, or more than 10,000 others were begun.
    """

    __slots__ = ("__weakref__", "_chunks", "_interrupted", "channel", "id", "topic")

    def __init__(self, id: str, *, channel: str, topic: str) -> None:
        self.id: str = id
        self.channel: str = channel
        self.topic: str = topic
        self._chunks = _Chunks()
        self._interrupted: str | None = None

    def __repr__(self) -> str:
        state = "interrupted" if self._reason else "ended" if self.ended else "open"
        return f"<DataStream {self.id!r} {state}, {len(self._chunks.texts)} chunks>"

    @property
    def ended(self) -> bool:
        """Whether no more chunks will come."""
        return self._chunks.ended or self._interrupted is not None

    @property
    def size(self) -> int:
        """Bytes of memory that its chunks take."""
        return self._chunks.size

    @property
    def _reason(self) -> str | None:
        return self._chunks.interrupted if self._chunks.ended else self._interrupted

    # What the connection and the subscriptions call.

    def feed(self, chunk: str) -> None:
        """Adds a chunk and wakes the readers. For the connection that owns the stream."""
        chunks = self._chunks
        # A chunk with one character beyond the basic plane takes four bytes for each.
        size = sys.getsizeof(chunk)
        if len(chunks.texts) >= MAX_CHUNKS or chunks.size + size > MAX_BYTES:
            self.end("it is longer than what is kept of one")
        elif not chunks.ended:
            chunks.texts.append(chunk)
            chunks.size += size
            chunks.wake()

    def end(self, interrupted: str | None = None) -> None:
        """Ends the stream for all; with a reason, readers get `DataStreamInterruptedError` after the last chunk."""
        chunks = self._chunks
        if not chunks.ended:
            chunks.interrupted = interrupted
            chunks.ended = True
            chunks.wake()

    def view(self) -> DataStream:
        """Returns the same stream as one subscription has it."""
        view = DataStream(self.id, channel=self.channel, topic=self.topic)
        view._chunks = self._chunks
        return view

    def interrupt(self, reason: str) -> None:
        """Ends it for the subscription whose view it is, unless it has ended."""
        if not self.ended:
            self._interrupted = reason
            self._chunks.wake()

    def check_complete(self) -> None:
        """Raises `DataStreamInterruptedError` when it was cut off."""
        # Each reader gets an error of its own. One that was kept here would keep the reader's frames by its traceback,
        # and with them the message, which keeps this: a circle that is never collected.
        reason = self._reason
        if reason is not None:
            raise DataStreamInterruptedError(
                f"The data stream {self.id!r} was cut off after {len(self._chunks.texts)} chunks ({reason}); "
                "the rest was not received. Ask the publisher's side for the whole text.",
                stream_id=self.id,
                channel=self.channel,
                topic=self.topic,
            )

    def __aiter__(self) -> _AsyncReader:
        return _AsyncReader(self, self._chunks)

    def sync(self, timeout: float | None = None) -> _SyncReader:
        """Iterates in a thread. After a timeout the same iterator goes on.

        Args:
            timeout: Seconds to wait for each next chunk; None waits for ever.

        Raises:
            TimeoutError: No chunk came in time.
            RealtimeError: An event loop is running in this thread.
        """
        return _SyncReader(self, self._chunks, timeout)


class _Reader:
    """Reads from the first chunk on. Not a generator: one ends, as if the stream had, when a read is cut short."""

    __slots__ = ("_chunks", "_closed", "_position", "_stream", "_timeout")

    def __init__(self, stream: DataStream, chunks: _Chunks, timeout: float | None = None) -> None:
        self._stream = stream
        self._chunks = chunks
        self._timeout = timeout
        self._position = 0
        self._closed = False

    def _is_over(self) -> bool:
        # Looked at first: what came before the end is then here.
        ended = self._stream.ended
        if self._position < len(self._chunks.texts) or not ended or self._closed:
            return self._closed
        self._stream.check_complete()
        return True

    def _take(self) -> str | None:
        if self._position == len(self._chunks.texts):
            return None
        self._position += 1
        return self._chunks.texts[self._position - 1]

    @contextlib.contextmanager
    def _woken(self, waker: Callable[[], object]) -> Generator[bool, None, None]:
        """Whether to wait for a waker to be called: a chunk, or the end, may have come meanwhile."""
        wakers = self._chunks.wakers
        wakers.append(waker)
        try:
            yield self._position == len(self._chunks.texts) and not self._stream.ended
        finally:
            with contextlib.suppress(ValueError):  # it was called
                wakers.remove(waker)


class _AsyncReader(_Reader, AsyncIterator[str]):
    __slots__ = ()

    async def __anext__(self) -> str:
        while not self._is_over():
            if (chunk := self._take()) is not None:
                return chunk
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            with self._woken(functools.partial(_resolve, loop, waiter)) as waits:
                if waits:
                    await waiter
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends this iterator."""
        self._closed = True


class _SyncReader(_Reader, Iterator[str]):
    __slots__ = ()

    def __next__(self) -> str:
        check_may_block()
        while not self._is_over():
            if (chunk := self._take()) is not None:
                return chunk
            waiter = new_waiter()
            with self._woken(functools.partial(waiter.set_result, None)) as waits:
                if waits and not waiter.wait(self._timeout):
                    id, seconds = self._stream.id, self._timeout
                    raise TimeoutError(f"No chunk of the data stream {id!r} came within {seconds} s.")
        raise StopIteration

    def close(self) -> None:
        """Ends this iterator."""
        self._closed = True


def _resolve(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    loop.call_soon_threadsafe(lambda: None if waiter.done() else waiter.set_result(None))
