"""The callbacks of a subscription: on_message, on_error, on_state. They run in the context of the subscriber."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .._concurrency.background import is_background
from .._concurrency.tasks import enter_callback, join_callback
from .._hub.readers import Readers
from .._telemetry.throttled_log import ThrottledLog
from .._upstream.subscriber import State
from ..errors import MessageError, RealtimeError
from ..messages.message import Message

_log = ThrottledLog(logging.getLogger("inngest_realtime.subscription"))


_MAX_PENDING_ERRORS: Final = 100  # errors that wait for on_error at most
_GRACE: Final = 1.0  # seconds

OnMessage = Callable[[Message[Any]], Awaitable[None] | None]
OnError = Callable[[Exception], Awaitable[None] | None]
OnState = Callable[[State], None]


def attach_callbacks(
    readers: Readers,
    *,
    on_message: OnMessage | None = None,
    on_error: OnError | None = None,
    on_state: OnState | None = None,
) -> None:
    """Calls an application's functions from now on, in the running context."""
    if on_state is None and on_error is None and on_message is None:
        return
    context = contextvars.copy_context()
    if on_state is not None:
        tell_state(on_state, readers.feed.state)
    reporter = ErrorReporter(readers, on_error, context)
    report = None if on_error is None else reporter.report
    readers.watch(
        # A copy each time: a context can't be entered twice, and a state may change in the middle of another.
        on_state=None if on_state is None else lambda state: context.copy().run(tell_state, on_state, state),
        on_error=report,
        # With on_message it is told of the end too, but after the last message.
        on_failed=report if on_message is None else None,
    )
    if on_message is not None:
        pump = _MessagePump(readers, on_message, reporter)
        name = f"inngest-realtime callback {readers.channel}"
        task = context.run(readers.hub.run, pump.watch(), name=name)
        readers.joins += (lambda: join_callback(task),)


def tell_state(on_state: OnState, state: State) -> None:
    """Calls an application's `on_state`; what it raises is logged."""
    try:
        on_state(state)
    except BaseException as error:
        _pass_on(error)
        _log_failed("on_state", state, error, f"on_state failed on {state!r}; the traceback says where.")


class _MessagePump:
    """Calls `on_message` with one message after the other, and `on_error` with what goes wrong.

    One task calls the callbacks, another one watches it: so a cancellation of the one, which comes out of something
    that a callback awaits, is told from a cancellation of both. (`Task.cancelling` would tell since Python 3.11.)
    """

    def __init__(self, readers: Readers, on_message: OnMessage, reporter: ErrorReporter) -> None:
        self._readers = readers
        self._buffer = readers.deliver()
        self._on_message = on_message
        self._reporter = reporter
        self._cause: BaseException | None = None
        self._unreported: RealtimeError | None = None

    async def watch(self) -> None:
        """Has the callbacks called until nothing more comes."""
        enter_callback()
        try:
            while True:
                worker = _Worker(self._work(), name="inngest-realtime on_message")
                try:
                    await asyncio.wait([worker])
                except asyncio.CancelledError:
                    await _end(worker)
                    raise
                if not worker.cancelled():
                    return
                if self._unreported is None:
                    self._unreported = RealtimeError(
                        f"Something that on_message awaits was cancelled, on {self._readers.channel!r}. The next "
                        "message comes all the same."
                    )
                    self._unreported.__cause__, self._cause = self._cause, None
                else:
                    # Out of on_error, as it was told of the last one: once more would go on for ever.
                    _log_cancelled()
                    self._unreported = None
        finally:
            self._readers.close()

    async def _work(self) -> None:
        enter_callback()
        if self._unreported is not None:
            await self._reporter.tell(self._unreported)
            self._unreported = None
        try:
            while (message := await self._buffer.next()) is not None:
                await self._handle(message)
        except RealtimeError as error:
            await self._reporter.tell(error)

    async def _handle(self, message: Message[Any]) -> None:
        try:
            result = self._on_message(message)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            # The mistake is the application's: it is told, and the next message comes all the same.
            await self._reporter.tell(error)
        except asyncio.CancelledError as error:
            self._cause = error
            raise
        except BaseException as error:
            _pass_on(error)
            failure = RealtimeError(f"on_message raised {type(error).__name__}, on {self._readers.channel!r}.")
            failure.__cause__ = error
            await self._reporter.tell(failure)


class _Worker(asyncio.Task[None]):
    """A task that knows whether it was cancelled: `Task.cancelling` exists since Python 3.11 only."""

    cancelled_before = False

    def cancel(self, msg: Any = None) -> bool:
        self.cancelled_before = True
        return super().cancel(msg)


async def _end(worker: _Worker) -> None:
    """Cancels a task and returns when it has ended. Each further cancellation of the caller is passed on to it.

    What it calls may have an ending of its own, which a second cancellation would cut short. So one that has been
    cancelled before, with all tasks, by `asyncio.run`, is given a while first; a timeout in a callback cancels, too.
    """
    if worker.cancelled_before:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([worker], timeout=_GRACE)
    if not worker.done():
        worker.cancel()
    while not worker.done():
        try:
            await asyncio.wait([worker])
        except asyncio.CancelledError:
            worker.cancel()


class ErrorReporter:
    """Calls `on_error`, or logs where there is none."""

    def __init__(self, readers: Readers, on_error: OnError | None, context: contextvars.Context) -> None:
        self._hub = readers.hub
        self._channel = readers.channel
        self._on_error = on_error
        self._context = context
        self._pending: deque[RealtimeError] = deque()
        self._max_bytes = readers.hub.options.buffer_bytes
        self.held_bytes: int = 0
        self._telling = False

    def report(self, error: RealtimeError) -> None:
        """Tells without waiting, one after the other; what an async `on_error` does belongs to the hub."""
        size = _size(error)
        if len(self._pending) >= _MAX_PENDING_ERRORS or (self._pending and self.held_bytes + size > self._max_bytes):
            _log_unreported(error)
            return
        self._pending.append(error)
        self.held_bytes += size
        self._hub.budget.spend(size)
        if not self._telling:
            self._telling = True
            self._hub.errors.add(self)
            self._context.copy().run(self._hub.run, self._tell_all(), name="inngest-realtime on_error")

    def drop(self, size: int) -> None:
        """Drops the oldest errors until so many bytes are free, or nothing is left; the log has them."""
        kept = self.held_bytes - size
        while self._pending and self.held_bytes > kept:
            _log_unreported(self._next())

    def _next(self) -> RealtimeError:
        error = self._pending.popleft()
        self.held_bytes -= _size(error)
        return error

    async def _tell_all(self) -> None:
        enter_callback()
        try:
            while self._pending:
                # In a task of its own: what it awaits may be cancelled, and the next error is told all the same.
                telling = self._hub.run(self.tell(self._next()), name="inngest-realtime on_error call")
                await asyncio.wait([telling])
                if telling.cancelled():
                    _log_cancelled()
        finally:
            self._telling = False
            self._hub.errors.discard(self)

    async def tell(self, error: Exception) -> None:
        if self._on_error is None:
            message = f"on_message failed on {self._channel!r}, or its connection ended; the traceback says where."
            _log_failed("on_message", self._channel, error, message)
            return
        enter_callback()
        try:
            result = self._on_error(error)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            _pass_on(failure)
            message = f"on_error itself failed, on {self._channel!r}; the traceback says where."
            _log_failed("on_error", self._channel, failure, message)


def _size(error: RealtimeError) -> int:
    """Bytes that an error keeps while it waits."""
    return error.payload_size if isinstance(error, MessageError) else 0


def _log_failed(callback: str, where: str, error: BaseException, message: str) -> None:
    kind = (callback, where, type(error).__name__)
    _log.write(logging.ERROR, kind, message, error, event="callback.failed", traceback=True)


def _log_unreported(error: RealtimeError) -> None:
    message = f"on_error is too slow to be told of this; let it hand work to a queue. {error}"
    _log.write(logging.ERROR, ("unreported", type(error)), message, event="callback.slow")


def _log_cancelled() -> None:
    message = "on_error itself was cancelled; do not let it raise CancelledError."
    _log.write(logging.ERROR, "cancelled", message, event="callback.cancelled")


def _pass_on(error: BaseException) -> None:
    """Raises what ends a program, where it would end one: on the background loop it would only end that loop."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)) and not is_background():
        raise error
