"""Asking `authorize` of a grant, whatever kind of function it is, at the beginning of a stream and in the middle."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal

from .._concurrency.background import run_coroutine
from .._concurrency.tasks import deadline, look_at_failure
from .._concurrency.threads import greenlets
from .._telemetry.throttled_log import ThrottledLog
from .errors import EndpointError
from .routes import is_async
from .selection import Selection

logger: logging.Logger = logging.getLogger("inngest_realtime.endpoints")
_log = ThrottledLog(logger)

_MAX_LEFT_BEHIND: Final = 16  # threads in which an `authorize` that timed out may still be running
_RETRY: Final = 5  # seconds


@dataclass(frozen=True)
class Host:
    """What a framework does in its own way.

    Attributes:
        run_in_thread: How the async face calls a synchronous `authorize`: takes the function and its arguments, and
            returns what its result is awaited by.
        run_coroutine: How the sync face runs an asynchronous `authorize` to its end, and returns its result.
        around_reauthorize: Makes, of the request, an async context manager in which the async face asks `authorize`
            again in the middle of a stream, when for the framework the request may be over. It gives the request to ask
            with.
        around_reauthorize_sync: The same for the sync face, a plain context manager.
        endpoint_error: Translates an exception with which the framework refuses a request; None of any other exception.
    """

    run_in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread
    run_coroutine: Callable[[Coroutine[Any, Any, Any]], Any] = run_coroutine
    around_reauthorize: Callable[[Any], AbstractAsyncContextManager[Any]] = nullcontext
    around_reauthorize_sync: Callable[[Any], AbstractContextManager[Any]] = nullcontext
    endpoint_error: Callable[[Exception], EndpointError | None] = lambda error: None


class Authorizer:
    """Asks `authorize`; only `True` allows.

    What it raises is the framework's to answer, unless that is the framework's way to refuse a request. What no
    framework expects of a function (`CancelledError` of an inner task, `StopIteration`, `SystemExit`) becomes a
    `RuntimeError`.

    Args:
        host: What the framework does in its own way.
        timeout: Seconds that it may take; None for no limit. A synchronous one cannot be stopped: under an event loop
            the request is answered and its thread runs on; without one there is no limit.
    """

    def __init__(self, host: Host, timeout: float | None) -> None:
        self._host = host
        self._timeout = timeout
        # What nobody waits for any more, and when it began. The event loop itself does not hold it.
        self._left_behind: dict[asyncio.Future[Any], float] = {}
        self._warned: set[str] = set()

    async def check(self, selection: Selection, request: Any) -> None:
        """Raises `EndpointError`: 403 unless `authorize` allows, 503 when it takes too long."""
        with self._translating():
            allowed = await self._allows(selection, request)
        if not allowed:
            raise _forbidden()

    def check_sync(self, selection: Selection, request: Any) -> None:
        """The sync twin of `check`."""
        with self._translating():
            allowed = self._allows_sync(selection, request)
        if not allowed:
            raise _forbidden()

    @contextmanager
    def _translating(self) -> Generator[None]:
        try:
            yield
        except Exception as error:
            # The application's own, of any kind: its framework's refusals become answers, others stay what they are.
            translated = self._translated(error)
            if translated is error:
                raise
            raise translated from error

    def _translated(self, error: Exception) -> Exception:
        endpoint_error = None if isinstance(error, EndpointError) else self._host.endpoint_error(error)
        return error if endpoint_error is None else endpoint_error

    async def still_allows(self, selection: Selection, request: Any) -> bool:
        """Asks again in the middle of a stream.

        Raises:
            EndpointError: It failed or took too long, which is logged: who comes back is asked then.
        """
        try:
            async with self._host.around_reauthorize(request) as current:
                return await self._allows(selection, current)
        except Exception as error:
            return self._forbids(selection, error)

    def still_allows_sync(self, selection: Selection, request: Any) -> bool:
        """The sync twin of `still_allows`."""
        try:
            with self._host.around_reauthorize_sync(request) as current:
                return self._allows_sync(selection, current)
        except Exception as error:
            return self._forbids(selection, error)

    def _forbids(self, selection: Selection, error: Exception) -> Literal[False]:
        """What an exception in the middle of a stream means: a framework's own forbids, all else is trouble."""
        translated = self._translated(error)
        if isinstance(translated, EndpointError):
            if translated.status < 500:
                return False
            raise translated
        # Each stream that is open asks: a database that is away would fail all of them.
        name = selection.grant.name
        _log.write(
            logging.WARNING,
            ("authorize.failed", name, type(error)),
            f"authorize of grant {name!r} raised {type(error).__name__} while an open stream was reauthorized; the "
            "stream ends, and its client is asked to come back. Let it return False for who may not.",
            error,
            event="authorize.failed",
        )
        raise EndpointError(500, "failed", "It could not be found out whether this request may go on.")

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls an application's function, sync or async, within the timeout.

        Raises:
            EndpointError: 503, it took too long.
        """
        if not is_async(function):
            result = await self._in_thread(function, args)
            if not inspect.isawaitable(result):
                return result
        else:
            result = function(*args)
        with deadline(self._timeout) as scope:
            try:
                return await result
            except asyncio.CancelledError as error:
                # Cancelled from outside, or by the timeout: it goes through. Before Python 3.11 nobody can tell.
                cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
                if scope.cancel_called or cancelling is None or cancelling():
                    raise
                raise _unexpected(error) from error
            except (Exception, KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                # SystemExit, for one, would end the server.
                raise _unexpected(error) from error
        raise _timed_out(self._timeout)

    def call_sync(self, function: Callable[..., Any], *args: Any) -> Any:
        """The sync twin of `call`."""
        try:
            result = function(*args)
            if inspect.isawaitable(result):
                result = self._host.run_coroutine(self.call(lambda: result))
        except BaseException as error:
            if isinstance(error, _UNEXPECTED) or not (isinstance(error, Exception) or _may_interrupt(error)):
                raise _unexpected(error) from error
            raise
        return result

    async def _allows(self, selection: Selection, request: Any) -> bool:
        return self._verdict(selection, await self.call(selection.grant.authorize, request, selection.channel))

    def _allows_sync(self, selection: Selection, request: Any) -> bool:
        return self._verdict(selection, self.call_sync(selection.grant.authorize, request, selection.channel))

    def _verdict(self, selection: Selection, verdict: object) -> bool:
        name = selection.grant.name
        if not isinstance(verdict, bool) and name not in self._warned:
            self._warned.add(name)
            logger.warning(
                "authorize of grant %r returned %s, which allows nothing: it has to return True or False. "
                "Was a return forgotten, or an object returned in place of a comparison?",
                name,
                "None" if verdict is None else f"a value of type {type(verdict).__name__}",
                extra={"event": "authorize.not_a_bool"},
            )
        return verdict is True

    async def _in_thread(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        # A client that has left leaves its call behind as well, which may well return in time.
        due = inf if self._timeout is None else time.monotonic() - self._timeout
        if sum(began <= due for began in self._left_behind.values()) >= _MAX_LEFT_BEHIND:
            raise _timed_out(self._timeout)
        began = time.monotonic()
        # A task of its own: waiting for it can be given up, where a framework's way of awaiting a thread cannot.
        outcome: asyncio.Future[Any] = asyncio.ensure_future(self._host.run_in_thread(_guarded, function, args))
        with deadline(self._timeout):
            try:
                await asyncio.wait({outcome})
            except BaseException:
                self._left_behind[outcome] = began
                outcome.add_done_callback(self._left_behind.pop)
                outcome.add_done_callback(look_at_failure)
                raise
            try:
                return outcome.result()
            finally:
                del outcome  # an exception that is raised holds this frame, and would hold itself
        raise _timed_out(self._timeout)


# What a function must not raise into the machinery of generators, futures and tasks.
_UNEXPECTED: Final = (asyncio.CancelledError, CancelledError, GeneratorExit, StopAsyncIteration, StopIteration)


def _guarded(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Called in a thread, from whose call no future takes every kind of exception."""
    try:
        return function(*args)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, _UNEXPECTED):
            raise
        raise _unexpected(error) from error


def _may_interrupt(error: BaseException) -> bool:
    """Whether it may be the server that stops what runs: with a timeout under gevent, else a signal's handler."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return greenlets() or (in_main_thread and isinstance(error, (KeyboardInterrupt, SystemExit)))


def _unexpected(error: BaseException) -> RuntimeError:
    return RuntimeError(f"A function of the application raised {type(error).__name__}.")


def _forbidden() -> EndpointError:
    return EndpointError(403, "forbidden", "This request may not subscribe to this channel.")


def _timed_out(timeout: float | None) -> EndpointError:
    _log.write(
        logging.WARNING,
        "authorize.slow",
        f"authorize took longer than {timeout} s; the request is answered with 503, and the client of a stream that "
        "was reauthorized is asked to come back. Make it faster, or set authorize_timeout=.",
        event="authorize.slow",
    )
    message = "It took too long to find out whether this request may subscribe; ask again."
    return EndpointError(503, "authorize_timeout", message, retry_after=_RETRY)
