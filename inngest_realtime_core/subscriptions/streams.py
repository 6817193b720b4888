"""Async iterators of messages: that of a subscription itself, and the independent ones that it gives."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Final

from .._concurrency.threads import check_event_loop
from .._hub.buffer import ReaderBuffer, Turn
from ..messages.message import Message
from ..messages.response_bodies import check_is_no_body


class _Holder:
    """Held by an iterator, and by each read of it that waits: `await anext(stream.get_json_stream())` is only that."""

    __slots__ = ("__weakref__",)


_OVER: Final = Turn(over=True)


class MessageStream(AsyncGenerator[Message[Any], None]):
    """An async iterator over a reader's messages: it outlives a loop that was left and a wait that was cancelled.

    Not a generator, which ends for good at the first cancellation.

    Args:
        buffer: What it reads.
        loop: The event loop of the subscription.
        on_close: Called by `aclose()`, or when nobody holds the iterator or a read of it any more; callable from any
            thread.
        closable: Whether `aclose()` ends it. The iterator of the subscription itself is only left.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_closable",
        "_generator",
        "_holder",
        "_loop",
        "_on_close",
        "_turn",
        "_turns",
    )

    def __init__(
        self,
        buffer: ReaderBuffer,
        loop: asyncio.AbstractEventLoop,
        on_close: Callable[[], object],
        *,
        closable: bool = True,
    ) -> None:
        self._buffer: ReaderBuffer = buffer
        self._turns: list[None] = buffer.turns
        self._loop = loop
        self._turn = _OVER  # the first `__anext__` begins one
        self._generator: AsyncGenerator[Message[Any], None]
        self._closable = closable
        self._holder = _Holder()
        self._on_close = weakref.finalize(self._holder, on_close)
        self._on_close.atexit = False

    def __aiter__(self) -> MessageStream:
        check_is_no_body()
        return self

    def __anext__(self) -> Coroutine[Any, Any, Message[Any]]:
        # On the path of every message: nothing is called that need not be.
        if not self._turns:
            self._buffer.check_turn()
        if self._turn.over:
            check_event_loop(self._loop)
            self._turn = Turn(self._holder)
            self._generator = self._buffer.messages(self._turn)
        # Its awaitable is made in C: a coroutine of our own would cost more for each message.
        return self._generator.__anext__()

    def read(self, buffer: ReaderBuffer) -> None:
        """Goes on with another reader's messages, if it is another."""
        if buffer is not self._buffer:
            self._buffer = buffer
            self._turns = buffer.turns
            self._turn.over = True

    def asend(self, value: None, /) -> Coroutine[Any, Any, Message[Any]]:
        """The same as `anext()`: nothing can be sent."""
        return self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None, /) -> Message[Any]:
        """Ends the iterator and raises the exception."""
        await self.aclose()
        raise typ if val is None else val if isinstance(val, BaseException) else RuntimeError(val)

    async def aclose(self) -> None:
        """Ends the iterator; a read that waits ends as well. The subscription goes on while somebody holds it."""
        if self._closable:
            self._buffer.end()
            self._on_close()


class SyncMessageStream(Generator[Message[Any], None, None]):
    """An iterator over a reader's messages, for one thread at a time: another one that reads it is told so.

    Not a generator, which any other thread can neither read nor close while one waits.

    Args:
        buffer: What it reads.
        holds: Kept for as long as the iterator.
        on_close: Called by `close()`. None: it is only left, as the iterator of the subscription itself.
    """

    __slots__ = ("__weakref__", "_buffer", "_holds", "_on_close", "_take")

    def __init__(
        self, buffer: ReaderBuffer, holds: object = None, *, on_close: Callable[[], object] | None = None
    ) -> None:
        self._buffer = buffer
        self._take = buffer.take
        self._holds = holds
        self._on_close = on_close

    def __iter__(self) -> SyncMessageStream:
        check_is_no_body()
        return self

    def __next__(self) -> Message[Any]:
        # Mostly one is there: then nothing is waited for, and nothing checked that concerns waiting.
        message = self._take()
        if message is None and (message := self._buffer.next_sync()) is None:
            raise StopIteration
        return message

    def send(self, value: None, /) -> Message[Any]:
        """The same as `next()`: nothing can be sent."""
        return next(self)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Message[Any]:
        """Ends the iterator and raises the exception."""
        self.close()
        raise typ if val is None else val if isinstance(val, BaseException) else RuntimeError(val)

    def close(self) -> None:
        """Ends the iterator; a read that waits ends as well. The subscription goes on while somebody holds it."""
        if self._on_close is not None:
            self._on_close()
