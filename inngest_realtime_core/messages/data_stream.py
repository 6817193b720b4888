"""The text that a publisher streams in chunks: what `message.stream` of a `datastream-start` message is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Final

from ..errors import DataStreamInterruptedError

__all__ = ["MAX_CHUNKS", "DataStream"]

MAX_CHUNKS: Final = 10_000
"""Chunks that one data stream holds at most; ten times as many as Inngest lets a publisher send."""


class DataStream:
    """The chunks of one data stream, from its start on, for any number of readers.

    Iterate it with `async for` on an event loop, or iterate `sync()` in a thread. Every reader sees every chunk,
    whenever it begins, so all are kept. Inngest ends a stream after 1,000 chunks of at most 1,024 bytes, so
    one holds at most 1 MiB. Of a longer one, from a server without that limit, 10,000 chunks are kept.

    Raises (while iterating):
        DataStreamInterruptedError: Before the stream's end, the connection was lost, the subscription was closed, the
            stream grew too long, or more than 10,000 others were begun.
    """

    __slots__ = ("_chunks", "_ended", "_interrupted", "_lock", "_threads", "_waiters", "channel", "id", "topic")

    def __init__(self, id: str, *, channel: str, topic: str) -> None:
        self.id = id
        self.channel = channel
        self.topic = topic
        self._chunks: list[str] = []
        self._ended = False
        self._interrupted: str | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._threads: threading.Condition | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = "interrupted" if self._interrupted else "ended" if self._ended else "open"
        return f"<DataStream {self.id!r} {state}, {len(self._chunks)} chunks>"

    @property
    def ended(self) -> bool:
        """Whether no more chunks will come."""
        return self._ended

    def feed(self, chunk: str) -> None:
        """Add a chunk and wake the readers. For the connection that owns the stream."""
        if len(self._chunks) >= MAX_CHUNKS:
            self.end("it is longer than what is kept of one")
        elif not self._ended:
            self._chunks.append(chunk)
            self._wake()

    def end(self, interrupted: str | None = None) -> None:
        """End the stream; with a reason, readers get `DataStreamInterruptedError` after the last chunk."""
        if self._ended:
            return
        self._interrupted = interrupted
        self._ended = True
        self._wake()

    def _check_complete(self) -> None:
        # Each reader gets an error of its own. One that was kept here would keep the reader's frames by its traceback,
        # and with them the message, which keeps this: a circle that is never collected.
        if self._interrupted is not None:
            raise DataStreamInterruptedError(
                f"The data stream {self.id!r} was cut off after {len(self._chunks)} chunks ({self._interrupted}); "
                "the rest was not received. Ask the publisher's side for the whole text.",
                stream_id=self.id,
                channel=self.channel,
                topic=self.topic,
            )

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
            threads = self._threads
        for loop, waiter in waiters:
            try:
                loop.call_soon_threadsafe(_resolve, waiter)
            except RuntimeError:
                # The reader's loop has been closed since, and its reader with it.
                continue
        if threads is not None:
            with threads:
                threads.notify_all()

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        position = 0
        while True:
            while position < len(self._chunks):
                yield self._chunks[position]
                position += 1
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            with self._lock:
                if position == len(self._chunks) and not self._ended:
                    self._waiters.append((loop, waiter))
                elif position == len(self._chunks):
                    break
                else:
                    continue
            await waiter
        self._check_complete()

    def sync(self, timeout: float | None = None) -> Generator[str, None, None]:
        """Iterate in a thread.

        Args:
            timeout: Seconds to wait for each next chunk; None waits for ever.

        Raises:
            TimeoutError: No chunk came in time.
        """
        with self._lock:
            if self._threads is None:
                self._threads = threading.Condition()
            condition = self._threads
        position = 0
        while True:
            with condition:
                while position == len(self._chunks) and not self._ended:
                    if not condition.wait(timeout):
                        raise TimeoutError(f"No chunk of the data stream {self.id!r} came within {timeout} s.")
            if position == len(self._chunks):
                break
            yield self._chunks[position]
            position += 1
        self._check_complete()


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
