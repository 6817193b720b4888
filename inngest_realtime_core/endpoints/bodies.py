"""The bodies of event streams: opened, read, and cleaned up however they end."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Final

from .._concurrency.background import run_sync
from .._concurrency.tasks import deadline
from ..errors import UnreachableError
from ..realtime import Realtime
from ..subscriptions.fragments import Render
from ..subscriptions.pending import sync_face
from ..subscriptions.subscription import Subscription
from ..subscriptions.sync import SyncSubscription
from .authorize import Authorizer
from .limits import StreamSlots
from .selection import Selection

_OPEN_TIMEOUT: Final = 10.0  # seconds that a newcomer waits for Inngest at most


@dataclass(frozen=True)
class Opening:
    """A stream that may be opened: its request has been authorized.

    Attributes:
        selection: What it subscribes to.
        request: The framework's own request.
        client: Whose stream it is; None for nobody in particular.
        last_event_id: The id of the last event that the client has had.
        render: Makes HTML of a message; None where the stream is JSON.
    """

    selection: Selection
    request: Any
    client: str | None = None
    last_event_id: str | None = None
    render: Render | None = None


class EventStreams:
    """Opens event streams.

    Each body yields an empty chunk first, which `open` takes: a generator that has started runs its `finally` however
    it is dropped, even before the response begins. Of the subscription only the stream is kept, which closes it
    when it ends: the object itself would keep what comes for somebody who iterates it.
    """

    def __init__(self, realtime: Realtime, slots: StreamSlots, authorizer: Authorizer, heartbeat: float) -> None:
        self._realtime = realtime
        self._slots = slots
        self._authorizer = authorizer
        self._heartbeat = heartbeat

    async def subscribe(self, selection: Selection) -> Subscription:
        """Subscribes, for 10 s at most.

        Raises:
            RealtimeError: Nothing was opened.
        """
        # Before it is subscribed, which may take a while: a signal that comes meanwhile is to be heard, too.
        self._realtime.install_signal_handlers()
        pending = self._realtime.subscribe(
            channel=selection.channel, topics=selection.granted_order, rewind=selection.rewind
        )
        with deadline(_OPEN_TIMEOUT):
            return await pending
        url = self._realtime.settings.api_base_url
        raise UnreachableError(f"Inngest did not respond within {_OPEN_TIMEOUT} s.", url=url)

    def subscribe_sync(self, selection: Selection) -> SyncSubscription:
        """The sync twin of `subscribe`."""
        self._realtime.install_signal_handlers()
        return sync_face(run_sync(lambda: self.subscribe(selection)))

    async def open(self, opening: Opening) -> AsyncGenerator[bytes, None]:
        """Returns the body of an event stream, already started.

        Raises:
            RealtimeError: Nothing was opened.
        """
        body = self._body(opening)
        await anext(body)
        return body

    def open_sync(self, opening: Opening) -> Generator[bytes, None, None]:
        """The sync twin of `open`."""
        body = self._body_sync(opening)
        next(body)
        return body

    async def _body(self, opening: Opening) -> AsyncGenerator[bytes, None]:
        selection = opening.selection
        with self._slots.taken(opening.client):
            events = (await self.subscribe(selection)).get_event_stream(
                heartbeat=selection.grant.heartbeat or self._heartbeat,
                last_event_id=opening.last_event_id,
                render=opening.render,
                reauthorize=functools.partial(self._authorizer.still_allows, selection, opening.request),
                reauthorize_every=selection.grant.reauthorize_every,
            )
            async with aclosing(events):
                yield b""
                async for chunk in events:
                    yield chunk

    def _body_sync(self, opening: Opening) -> Generator[bytes, None, None]:
        selection = opening.selection
        with self._slots.taken(opening.client):
            events = self.subscribe_sync(selection).get_event_stream(
                heartbeat=selection.grant.heartbeat or self._heartbeat,
                last_event_id=opening.last_event_id,
                render=opening.render,
                reauthorize=functools.partial(self._authorizer.still_allows_sync, selection, opening.request),
                reauthorize_every=selection.grant.reauthorize_every,
            )
            with closing(events):
                yield b""
                yield from events
