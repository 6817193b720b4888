"""The callbacks of a subscription: on_message, on_error, on_state."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from .._hub.buffer import ReaderBuffer
from ..errors import RealtimeError
from ..messages.message import Message

if TYPE_CHECKING:
    from .._hub.hub import Hub
    from .._upstream.registry import State

__all__ = ["ErrorReporter", "MessagePump", "OnError", "OnMessage", "OnState", "tell_state"]

logger = logging.getLogger("inngest_realtime.subscription")


_MAX_PENDING_ERRORS: Final = 100  # errors that wait for on_error at most


OnMessage = Callable[[Message[Any]], Awaitable[None] | None]


OnError = Callable[[Exception], Awaitable[None] | None]


OnState = Callable[["State"], None]


def tell_state(on_state: OnState, state: State) -> None:
    """Call an application's `on_state`; what it raises is logged."""
    try:
        on_state(state)
    except Exception:
        logger.exception("on_state failed on %r.", state)


class MessagePump:
    """Calls `on_message` with one message after the other, and `on_error` with what goes wrong."""

    def __init__(self, buffer: ReaderBuffer, on_message: OnMessage, reporter: ErrorReporter) -> None:
        self._consumer = buffer
        self._on_message = on_message
        self._reporter = reporter

    async def run(self) -> None:
        messages = self._consumer.messages()
        try:
            async for message in messages:
                await self._handle(message)
        except RealtimeError as error:
            await self._reporter.tell(error)
        finally:
            await messages.aclose()

    async def _handle(self, message: Message[Any]) -> None:
        try:
            result = self._on_message(message)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            # The mistake is the application's: it is told, and the next message comes all the same.
            await self._reporter.tell(error)


class ErrorReporter:
    """Calls `on_error`, or logs where there is none."""

    def __init__(self, hub: Hub, on_error: OnError | None) -> None:
        self._hub = hub
        self._on_error = on_error
        self._pending: deque[RealtimeError] = deque()
        self._telling = False

    def report(self, error: RealtimeError) -> None:
        """Tell without waiting, one after the other; what an async `on_error` does belongs to the hub."""
        if len(self._pending) >= _MAX_PENDING_ERRORS:
            logger.error("on_error is too slow to be told of this: %s", error)
            return
        self._pending.append(error)
        if not self._telling:
            self._telling = True
            self._hub.run(self._tell_all(), name="inngest-realtime on_error")

    async def _tell_all(self) -> None:
        try:
            while self._pending:
                await self.tell(self._pending.popleft())
        finally:
            self._telling = False

    async def tell(self, error: Exception) -> None:
        if self._on_error is None:
            logger.error("A subscription's callback failed, or its connection ended.", exc_info=error)
            return
        try:
            result = self._on_error(error)
            if inspect.isawaitable(result):
                await result
        except Exception:
            logger.exception("on_error itself failed.")
