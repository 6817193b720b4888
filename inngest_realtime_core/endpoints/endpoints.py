"""The HTTP contract that every framework's adapter serves, without a framework.

An adapter hands over an `EndpointRequest`, and turns the `Answer` or `StreamAnswer` that it gets into its framework's
response. That is all an adapter does.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Final, cast

from .._api.client_token import ClientSubscriptionToken
from .._concurrency.background import run_sync
from .._concurrency.tasks import deadline
from ..arguments import describe
from ..errors import ConfigurationError, RealtimeError
from ..realtime import Realtime, check_realtime
from ..subscriptions.pending import resume
from ..subscriptions.subscription import Subscription
from ..subscriptions.sync import SyncSubscription
from .answers import Answer, StreamAnswer, SyncStreamAnswer
from .authorize import Authorizer, Host
from .bodies import EventStreams, Opening
from .client_file import client_file
from .errors import EndpointError
from .grants import Grant
from .issuing import TokenIssuer, until_shutdown
from .limits import RateLimit, StreamSlots, client_name
from .options import EndpointOptions
from .overlaps import check_overlaps
from .parameters import query_parameters
from .request import EndpointRequest
from .selection import Selection, resume_point, select
from .wsgi_threads import check_limit, single_threaded

logger: logging.Logger = logging.getLogger("inngest_realtime.endpoints")

# What a subscription needs, which the core loads at the first one: no request is to wait for it.
import_module("inngest_realtime_core._hub.hub")

_BODY_TIMEOUT: Final = 10.0  # seconds
_TOKEN_METHODS: Final = ("GET", "POST")
_STREAM_METHODS: Final = ("GET",)
_FILE_METHODS: Final = ("GET", "HEAD")
_TOKEN_WISHES: Final = ("full",)
_STREAM_WISHES: Final = ("rewind", "format")


class Endpoints:
    """Token and stream endpoints for a set of grants.

    | status | `code` | when |
    |---|---|---|
    | 200 | | a token, or an event stream |
    | 400 | `missing_parameter`, `unknown_parameter`, `repeated_parameter`, `contradictory_parameter`, `too_many_parameters`, `empty_topics`, `malformed_body` | the request is not well formed |
    | 401, 404, ... | `unauthenticated`, `not_found`, `refused` | `authorize` raised its framework's exception with this status |
    | 403 | `forbidden`, `topic_not_granted`, `rewind_not_granted` | `authorize` did not return `True`; more is asked for than the grant allows |
    | 404 | `unknown_grant` | no grant of that name |
    | 405 | `method_not_allowed` | `Allow` says which methods are |
    | 408 | `body_too_slow` | the body did not come within 10 s |
    | 413 | `body_too_large` | the body has more than `max_body` bytes |
    | 422 | `invalid_parameter` | a value does not fit its parameter's type, is empty, too long, or holds a separator |
    | 429 | `too_many_requests`, `too_many_streams_per_client` | one client asks for too much; ask again after `Retry-After` seconds |
    | 500 | `misconfigured`, `failed` | no signing key, and the like; the log says more |
    | 502 | `inngest_refused`, `inngest_failed` | Inngest refused this server, or responded with something unexpected |
    | 503 | `inngest_unreachable`, `shutting_down`, `too_many_streams`, `too_many_token_requests`, `authorize_timeout`, `single_threaded_server` | ask again after `Retry-After` seconds |

    Parameters are checked first, then `authorize` is asked, and only then is anything minted or opened.

    Args:
        realtime: What mints and subscribes.
        grants: What is served; their names must differ.
        options: How it is served.
        host: What the framework does in its own way.
    """  # noqa: E501 - a table's rows cannot be broken

    def __init__(
        self,
        realtime: Realtime,
        grants: Sequence[Grant],
        options: EndpointOptions | None = None,
        host: Host | None = None,
    ) -> None:
        _check_kinds(realtime, grants)
        self.realtime = realtime
        self.grants: Mapping[str, Grant] = {grant.name: grant for grant in grants}
        if len(self.grants) != len(grants):
            names = sorted(grant.name for grant in grants)
            raise ConfigurationError(f"Two grants have the same name; pass name= to one of them: {', '.join(names)}.")
        check_overlaps(grants)
        self.options: EndpointOptions = options or EndpointOptions()
        self._rate = RateLimit(self.options.rate_per_client, self.options.burst_per_client)
        self._limit_checked = False
        self._tokens = TokenIssuer(realtime)
        self._authorizer = Authorizer(host or Host(), self.options.authorize_timeout)
        slots = StreamSlots(self.options.max_streams, self.options.max_streams_per_client)
        realtime.watch_slots(slots)
        self._streams = EventStreams(realtime, slots, self._authorizer, self.options.heartbeat)

    # -- the endpoints ------------------------------------------------------------------------------------------------

    async def token(self, name: str, request: EndpointRequest) -> Answer:
        """Answers `.../{name}/token`.

        Args:
            name: The grant's name, from the URL.

        Raises:
            Exception: Whatever `authorize` raises.
        """
        if request.method == "OPTIONS":
            return Answer.options(_allow(_TOKEN_METHODS))
        try:
            selection = self._select(name, request, await self._body(request))
            full = selection.full
            return Answer.from_token(await self._issue(selection, request), full=full)
        except RealtimeError as error:
            return self._rejected(error)

    def token_sync(self, name: str, request: EndpointRequest) -> Answer:
        """The sync twin of `token`."""
        if request.method == "OPTIONS":
            return Answer.options(_allow(_TOKEN_METHODS))
        try:
            selection = self._select(name, request, self._body_sync(request))
            full = selection.full
            return Answer.from_token(self._issue_sync(selection, request), full=full)
        except RealtimeError as error:
            return self._rejected(error)

    async def stream(self, name: str, request: EndpointRequest) -> StreamAnswer | Answer:
        """Answers `.../{name}/stream`; arguments and errors as for `token`."""
        if request.method == "OPTIONS":
            return Answer.options(_allow(_STREAM_METHODS))
        try:
            with self.realtime.operation("stream"):
                opening = await self._admit(name, request)
                return StreamAnswer(await self._streams.open(opening), self.options.send_timeout)
        except RealtimeError as error:
            return self._rejected(error)

    def stream_sync(self, name: str, request: EndpointRequest) -> SyncStreamAnswer | Answer:
        """The sync twin of `stream`."""
        if request.method == "OPTIONS":
            return Answer.options(_allow(_STREAM_METHODS))
        try:
            with self.realtime.operation("stream"):
                opening = self._admit_sync(name, request)
                self._check_server()
                return SyncStreamAnswer(self._streams.open_sync(opening), self.options.send_timeout)
        except RealtimeError as error:
            return self._rejected(error)

    def client_js(self, request: EndpointRequest) -> Answer:
        """Answers `.../client.js`: the client for browsers, an ES module."""
        if request.method == "OPTIONS":
            return Answer.options(_allow(_FILE_METHODS))
        try:
            _check_method(request, _FILE_METHODS)
        except EndpointError as error:
            return Answer.from_error(error)
        return client_file(request)

    # -- the pieces, for routes of one's own --------------------------------------------------------------------------

    async def issue(self, name: str, request: EndpointRequest) -> ClientSubscriptionToken:
        """Authorizes the request and mints a token for it.

        Raises:
            EndpointError: Nothing was minted.
        """
        with self._counted():
            return await self._issue(self._select(name, request, await self._body(request)), request)

    async def _issue(self, selection: Selection, request: EndpointRequest) -> ClientSubscriptionToken:
        await self._authorizer.check(selection, request.native)
        self._rate.spend(await self._client(request))
        return await self._tokens.issue(selection)

    def issue_sync(self, name: str, request: EndpointRequest) -> ClientSubscriptionToken:
        """The sync twin of `issue`."""
        with self._counted():
            return self._issue_sync(self._select(name, request, self._body_sync(request)), request)

    def _issue_sync(self, selection: Selection, request: EndpointRequest) -> ClientSubscriptionToken:
        self._authorizer.check_sync(selection, request.native)
        self._rate.spend(self._client_sync(request))
        return self._tokens.issue_sync(selection)

    async def subscribe(self, name: str, request: EndpointRequest) -> Subscription:
        """Authorizes the request and subscribes, for routes that make their own response of the subscription.

        Raises:
            EndpointError: Nothing was opened.
        """
        with self._counted():
            opening = await self._admit(name, request)
            subscription = await self._streams.subscribe(opening.selection)
            resume(subscription, opening.last_event_id)
            return subscription

    def subscribe_sync(self, name: str, request: EndpointRequest) -> SyncSubscription:
        """The sync twin of `subscribe`."""
        with self._counted():
            opening = self._admit_sync(name, request)
            subscription = self._streams.subscribe_sync(opening.selection)
            resume(subscription, opening.last_event_id)
            return subscription

    # -- what a request asks for --------------------------------------------------------------------------------------

    def _select(self, name: str, request: EndpointRequest, body: bytes) -> Selection:
        grant = self._grant(name)
        parameters = [*(request.route or ()), *query_parameters(request.query)]
        if request.route is not None:
            parameters, _ = resume_point(parameters, None)
        kind = request.headers.get("content-type", "")
        own = request.route is not None
        most = self.options.max_channel_length
        return select(
            grant, parameters, body, content_type=kind, ignore_unknown=own, wishes=_TOKEN_WISHES, max_length=most
        )

    def _opening(self, name: str, request: EndpointRequest) -> Opening:
        grant = self._grant(name)
        if request.route is None:
            _check_method(request, _STREAM_METHODS)
        parameters = [*(request.route or ()), *query_parameters(request.query)]
        parameters, last_event_id = resume_point(parameters, request.headers.get("last-event-id"))
        own = request.route is not None
        # A route of one's own may have a parameter of that name: it means this where the grant allows it.
        wishes = _STREAM_WISHES if not own else ("rewind",) if grant.rewind is not None else ()
        most = self.options.max_channel_length
        selection = select(grant, parameters, ignore_unknown=own, wishes=wishes, max_length=most)
        return Opening(selection, request.native, None, last_event_id, None if selection.json else grant.render)

    async def _admit(self, name: str, request: EndpointRequest) -> Opening:
        opening = self._opening(name, request)
        await self._authorizer.check(opening.selection, opening.request)
        client = await self._client(request)
        if client is not None and not await self._continues(opening):
            self._rate.spend(client)
        return replace(opening, client=client)

    def _admit_sync(self, name: str, request: EndpointRequest) -> Opening:
        opening = self._opening(name, request)
        self._authorizer.check_sync(opening.selection, opening.request)
        if request.single_threaded:
            raise single_threaded()
        client = self._client_sync(request)
        if client is not None and not run_sync(lambda: self._continues(opening)):
            self._rate.spend(client)
        return replace(opening, client=client)

    def _check_server(self) -> None:
        if not self._limit_checked:
            self._limit_checked = True
            check_limit(self.options.max_streams)

    async def _continues(self, opening: Opening) -> bool:
        selection = opening.selection
        return await self.realtime.continues(selection.channel, selection.granted_order, opening.last_event_id)

    def _grant(self, name: str) -> Grant:
        grant = self.grants.get(name)
        if grant is None:
            raise EndpointError(404, "unknown_grant", f"There is nothing named {name!r} to subscribe to here.")
        return grant

    async def _body(self, request: EndpointRequest) -> bytes:
        if not self._has_body(request):
            return b""
        body = request.read(self.options.max_body + 1)
        if not inspect.isawaitable(body):
            return self._bounded(body)
        with deadline(_BODY_TIMEOUT):
            return self._bounded(await until_shutdown(self.realtime, body))
        raise EndpointError(408, "body_too_slow", f"The body did not come within {_BODY_TIMEOUT:.0f} s.")

    def _body_sync(self, request: EndpointRequest) -> bytes:
        if not self._has_body(request):
            return b""
        return self._bounded(cast("bytes", request.read(self.options.max_body + 1)))

    def _has_body(self, request: EndpointRequest) -> bool:
        if request.route is not None:
            return False  # it is the route's to read
        _check_method(request, _TOKEN_METHODS)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.options.max_body:
            raise self._too_large()
        return request.method == "POST"

    def _bounded(self, body: bytes) -> bytes:
        if len(body) > self.options.max_body:
            raise self._too_large()
        return body

    def _too_large(self) -> EndpointError:
        return EndpointError(413, "body_too_large", f"The body has more than {self.options.max_body} bytes.")

    # -- whose it is, and how it went ---------------------------------------------------------------------------------

    async def _client(self, request: EndpointRequest) -> str | None:
        client = self.options.client
        return None if client is None else client_name(await self._authorizer.call(client, request.native))

    def _client_sync(self, request: EndpointRequest) -> str | None:
        client = self.options.client
        return None if client is None else client_name(self._authorizer.call_sync(client, request.native))

    def _rejected(self, error: RealtimeError) -> Answer:
        told = EndpointError.of(error)
        self.realtime.count_endpoint_error(told.code)
        return Answer.from_error(told)

    @contextmanager
    def _counted(self) -> Generator[None, None, None]:
        try:
            yield
        except RealtimeError as error:
            told = EndpointError.of(error)
            self.realtime.count_endpoint_error(told.code)
            if told is error:
                raise
            raise told from error


def _check_kinds(realtime: object, grants: object) -> None:
    check_realtime(realtime)
    if isinstance(grants, Grant):
        raise ConfigurationError("The grants are a single one: put it into a list.")
    if not isinstance(grants, Sequence) or isinstance(grants, (str, bytes)):
        raise ConfigurationError(f"The grants are {describe(grants)}: expected a list of Grant objects.")
    wrong = [grant for grant in cast("Sequence[object]", grants) if not isinstance(grant, Grant)]
    if wrong:
        raise ConfigurationError(f"Expected a list of Grant objects, and {describe(wrong[0])} is none.")


def _check_method(request: EndpointRequest, methods: Sequence[str]) -> None:
    if request.method not in methods:
        message = f"{request.method} is not allowed here; allowed: {', '.join(methods)}."
        headers = {"Allow": _allow(methods)}
        raise EndpointError(405, "method_not_allowed", message, headers=headers)


def _allow(methods: Sequence[str]) -> str:
    return ", ".join([*methods, "OPTIONS"])
