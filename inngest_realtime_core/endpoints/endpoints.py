"""The HTTP contract that every framework's adapter serves, without a framework.

An adapter takes the request apart, calls `token` or `stream` (or their sync twins), and turns the `Answer` or
`StreamAnswer` into its framework's response. That is all an adapter does.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing, nullcontext
from typing import Any, Protocol, TypeVar, cast

from .._api.tokens import ClientSubscriptionToken
from .._concurrency.background import run_coroutine
from ..errors import ConfigurationError, RealtimeError
from ..realtime import Realtime
from ..subscriptions.subscription import Subscription
from .answers import Answer, StreamAnswer, SyncStreamAnswer
from .authorize import awaited, is_async
from .errors import EndpointError, too_many_streams
from .grants import Grant
from .overlaps import check_overlaps
from .selection import Selection, resume_point, select

__all__ = ["Endpoints"]

logger = logging.getLogger("inngest_realtime.endpoints")

_T = TypeVar("_T")


class RunInThread(Protocol):
    """Calls a function without blocking the event loop, and awaits its result."""

    def __call__(self, function: Callable[..., _T], /, *args: Any) -> Awaitable[_T]: ...


class RunCoroutine(Protocol):
    """Runs a coroutine to its end from synchronous code."""

    def __call__(self, coroutine: Coroutine[Any, Any, _T], /) -> _T: ...


class Endpoints:
    """Token and stream endpoints for a set of grants.

    | status | `code` | when |
    |---|---|---|
    | 200 | | a token, or an event stream |
    | 400 | `missing_parameter`, `unknown_parameter`, `repeated_parameter`, `contradictory_parameter`, `empty_topics`, `malformed_body` | the request is not well formed |
    | 403 | `forbidden`, `topic_not_granted` | `authorize` did not return `True`; a topic outside the grant |
    | 404 | `unknown_grant` | no grant of that name |
    | 422 | `invalid_parameter` | a value does not fit its parameter's type, is empty, or holds a separator |
    | 500 | `misconfigured`, `failed` | no signing key, and the like; the log says more |
    | 502 | `inngest_refused`, `inngest_failed` | Inngest refused this server, or answered something unexpected |
    | 503 | `inngest_unreachable`, `shutting_down`, `too_many_streams` | ask again after `Retry-After` seconds |

    Parameters are checked first, then `authorize` is asked, and only then is anything minted or opened.

    Args:
        realtime: What mints and subscribes.
        grants: What is served; their names must differ.
        heartbeat: Seconds between the heartbeats of a stream, unless its grant says otherwise.
        max_streams: Streams open at once in this process; more are answered with 503. `None` for no limit. A
            threaded server needs one: each stream occupies a thread.
        run_in_thread: How the async face calls a synchronous `authorize`. A framework's own way belongs here.
        run_coroutine: How the sync face runs an asynchronous `authorize`.
        around_reauthorize: Makes, of the request, an async context manager in which the async face asks `authorize` again
            in the middle of a stream, when for the framework the request may be over.
        around_reauthorize_sync: The same for the sync face, a plain context manager.
    """  # noqa: E501

    def __init__(
        self,
        realtime: Realtime,
        grants: Sequence[Grant],
        *,
        heartbeat: float = 10.0,
        max_streams: int | None = None,
        run_in_thread: RunInThread = asyncio.to_thread,
        run_coroutine: RunCoroutine = run_coroutine,
        around_reauthorize: Callable[[Any], AbstractAsyncContextManager[object]] = nullcontext,
        around_reauthorize_sync: Callable[[Any], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        if not heartbeat > 0:
            raise ConfigurationError(f"heartbeat is {heartbeat!r}: it is a number of seconds above 0.")
        if max_streams is not None and max_streams < 1:
            raise ConfigurationError(f"max_streams is {max_streams!r}: it is a number above 0, or None for no limit.")
        self.realtime = realtime
        self.grants: Mapping[str, Grant] = {grant.name: grant for grant in grants}
        if len(self.grants) != len(grants):
            names = sorted(grant.name for grant in grants)
            raise ConfigurationError(f"Two grants have the same name; pass name= to one of them: {', '.join(names)}.")
        check_overlaps(grants)
        self.heartbeat = heartbeat
        self.max_streams = max_streams
        self._slots = None if max_streams is None else threading.BoundedSemaphore(max_streams)
        self._run_in_thread = run_in_thread
        self._run_coroutine = run_coroutine
        self._around_reauthorize = around_reauthorize
        self._around_reauthorize_sync = around_reauthorize_sync

    # The four endpoints

    async def token(
        self, name: str, request: object, parameters: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """Answers `GET|POST .../{name}/token`.

        Args:
            name: The grant's name, from the URL.
            request: The framework's own request, handed to `authorize`.
            parameters: The query's (name, value) pairs, repeated names included.
            body: The body of a POST: a JSON object of parameters, or nothing.

        Raises:
            Exception: Whatever `authorize` raises.
        """
        try:
            return Answer.from_token(await self.mint(select(self._grant(name), parameters, body), request))
        except EndpointError as refusal:
            return Answer.from_error(refusal)

    def token_sync(
        self, name: str, request: object, parameters: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """The sync twin of `token`."""
        try:
            return Answer.from_token(self.mint_sync(select(self._grant(name), parameters, body), request))
        except EndpointError as refusal:
            return Answer.from_error(refusal)

    async def stream(
        self, name: str, request: object, parameters: Iterable[tuple[str, str]], last_event_id: str | None = None
    ) -> StreamAnswer | Answer:
        """Answers `GET .../{name}/stream`; arguments and errors as for `token`.

        Args:
            last_event_id: The `Last-Event-ID` header of a client that comes back; without it, the parameter
                `lastEventId` counts.
        """
        try:
            parameters, last_event_id = resume_point(parameters, last_event_id)
            return StreamAnswer(await self.open(select(self._grant(name), parameters), request, last_event_id))
        except EndpointError as refusal:
            return Answer.from_error(refusal)

    def stream_sync(
        self, name: str, request: object, parameters: Iterable[tuple[str, str]], last_event_id: str | None = None
    ) -> SyncStreamAnswer | Answer:
        """The sync twin of `stream`."""
        try:
            parameters, last_event_id = resume_point(parameters, last_event_id)
            return SyncStreamAnswer(self.open_sync(select(self._grant(name), parameters), request, last_event_id))
        except EndpointError as refusal:
            return Answer.from_error(refusal)

    # The pieces, for adapters that serve parts of the contract

    async def mint(self, selection: Selection, request: object) -> ClientSubscriptionToken:
        """Authorizes and mints.

        Raises:
            EndpointError: Nothing was minted.
        """
        await self._authorize(selection, request)
        try:
            return await self.realtime.get_client_subscription_token(channel=selection.channel, topics=selection.topics)
        except RealtimeError as error:
            raise EndpointError.of(error) from error

    def mint_sync(self, selection: Selection, request: object) -> ClientSubscriptionToken:
        """The sync twin of `mint`."""
        self._authorize_sync(selection, request)
        try:
            return self.realtime.get_client_subscription_token_sync(channel=selection.channel, topics=selection.topics)
        except RealtimeError as error:
            raise EndpointError.of(error) from error

    async def subscribe(self, selection: Selection, request: object) -> Subscription:
        """Authorizes and subscribes, for routes that make their own response of the subscription.

        Raises:
            EndpointError: Nothing was opened.
        """
        await self._authorize(selection, request)
        self.realtime.install_signal_handlers()
        try:
            return await self.realtime.subscribe(channel=selection.channel, topics=selection.topics)
        except RealtimeError as error:
            raise EndpointError.of(error) from error

    async def open(
        self, selection: Selection, request: object, last_event_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Authorizes, subscribes, and returns the body of an event stream, already started.

        Raises:
            EndpointError: Nothing was opened.
        """
        await self._authorize(selection, request)
        body = self._body(selection, request, last_event_id)
        try:
            await anext(body)
        except RealtimeError as error:
            raise EndpointError.of(error) from error
        return body

    def open_sync(
        self, selection: Selection, request: object, last_event_id: str | None = None
    ) -> Generator[bytes, None, None]:
        """The sync twin of `open`."""
        self._authorize_sync(selection, request)
        body = self._body_sync(selection, request, last_event_id)
        try:
            next(body)
        except RealtimeError as error:
            raise EndpointError.of(error) from error
        return body

    # Streams

    # Each body yields an empty chunk first, which `open` takes: a generator that has started runs its `finally` however
    # it is let go of, even before the response begins. Of the subscription only the stream is kept, which closes it
    # when it ends: the object itself would keep what comes for somebody who iterates it.

    async def _body(
        self, selection: Selection, request: object, last_event_id: str | None
    ) -> AsyncGenerator[bytes, None]:
        self._take_slot()
        try:
            # Before it is subscribed, which may take a while: a signal that comes meanwhile is to be heard, too.
            self.realtime.install_signal_handlers()
            pending = self.realtime.subscribe(channel=selection.channel, topics=selection.topics)
            events = (await pending).get_event_stream(
                heartbeat=self._heartbeat(selection),
                last_event_id=last_event_id,
                reauthorize=functools.partial(self._reauthorize, selection, request),
                reauthorize_every=selection.grant.reauthorize_every,
            )
            async with aclosing(events):
                yield b""
                async for chunk in events:
                    yield chunk
        finally:
            self._give_slot()

    def _body_sync(
        self, selection: Selection, request: object, last_event_id: str | None
    ) -> Generator[bytes, None, None]:
        self._take_slot()
        try:
            self.realtime.install_signal_handlers()
            subscription = self.realtime.subscribe_sync(channel=selection.channel, topics=selection.topics)
            events = subscription.get_event_stream(
                heartbeat=self._heartbeat(selection),
                last_event_id=last_event_id,
                reauthorize=functools.partial(self._reauthorize_sync, selection, request),
                reauthorize_every=selection.grant.reauthorize_every,
            )
            del subscription
            with closing(events):
                yield b""
                yield from events
        finally:
            self._give_slot()

    def _heartbeat(self, selection: Selection) -> float:
        return self.heartbeat if selection.grant.heartbeat is None else selection.grant.heartbeat

    def _take_slot(self) -> None:
        if self._slots is not None and not self._slots.acquire(blocking=False):
            raise too_many_streams(self.max_streams or 0)

    def _give_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()

    # Who may

    def _grant(self, name: str) -> Grant:
        grant = self.grants.get(name)
        if grant is None:
            raise EndpointError(404, "unknown_grant", f"There is nothing named {name!r} to subscribe to here.")
        return grant

    async def _authorize(self, selection: Selection, request: object) -> None:
        if not await self._allows(selection, request):
            raise _forbidden()

    def _authorize_sync(self, selection: Selection, request: object) -> None:
        if not self._allows_sync(selection, request):
            raise _forbidden()

    async def _allows(self, selection: Selection, request: object) -> bool:
        authorize = selection.grant.authorize
        if is_async(authorize):
            verdict = authorize(request, selection.channel)
        else:
            verdict = await self._run_in_thread(authorize, request, selection.channel)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        return verdict is True

    def _allows_sync(self, selection: Selection, request: object) -> bool:
        verdict: object = selection.grant.authorize(request, selection.channel)
        if inspect.isawaitable(verdict):
            verdict = self._run_coroutine(awaited(cast("Awaitable[object]", verdict)))
        return verdict is True

    async def _reauthorize(self, selection: Selection, request: object) -> bool:
        try:
            async with self._around_reauthorize(request):
                return await self._allows(selection, request)
        except Exception as error:
            _log_reauthorize(selection, error)
            return False

    def _reauthorize_sync(self, selection: Selection, request: object) -> bool:
        try:
            with self._around_reauthorize_sync(request):
                return self._allows_sync(selection, request)
        except Exception as error:
            _log_reauthorize(selection, error)
            return False


def _forbidden() -> EndpointError:
    return EndpointError(403, "forbidden", "This request may not subscribe to this channel.")


def _log_reauthorize(selection: Selection, error: Exception) -> None:
    # A refusal by exception (a framework's HTTP 403) and a defect look alike here, and either ends the stream.
    logger.warning(
        "authorize of grant %r raised while an open stream was reauthorized; the stream ends.",
        selection.grant.name,
        exc_info=error,
    )
