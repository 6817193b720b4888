"""What both faces of a subscription have, the async one and the sync one."""

from __future__ import annotations

import logging
import weakref
from collections.abc import AsyncGenerator, Generator
from typing import Any, NoReturn, TypeVar

from .._hub.buffer import ReaderBuffer
from .._hub.readers import Readers
from .._upstream.subscriber import State
from ..arguments import check_callable, check_interval, check_text
from ..errors import RealtimeError
from ..messages.message import Message
from .fragments import Fragments, Render, check_names
from .sse import EventStream

logger: logging.Logger = logging.getLogger("inngest_realtime.subscription")

S = TypeVar("S", bound="AsyncGenerator[Any, None] | Generator[Any, None, None]")


class SubscriptionFace:
    """An open subscription.

    Attributes:
        channel: The channel's name.
        topics: The names of the topics.
    """

    def __init__(self, readers: Readers) -> None:
        readers.acquire()
        self._readers = readers
        self.channel: str = readers.channel
        self.topics: tuple[str, ...] = readers.spec.topics

    def __reduce__(self) -> NoReturn:
        raise RealtimeError(
            "A subscription is neither pickled nor copied: it is open in this process. Subscribe where it is read, or "
            "take another iterator of it with get_json_stream()."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} channel={self.channel!r} topics={list(self.topics)!r} {self.state}>"

    @property
    def state(self) -> State:
        """`connecting`, `open`, `reconnecting` or `closed`."""
        return "closed" if self._readers.closed else self._readers.feed.state

    @property
    def closed(self) -> bool:
        return self._readers.closed

    def _close(self, reason: str | None) -> None:
        if not self.closed:
            logger.debug("Closing the subscription to %r: %s", self.channel, reason or "no reason given")
        self._readers.call(self._readers.close)


def new_event_stream(
    readers: Readers,
    heartbeat: float,
    last_event_id: str | None,
    render: Render | None = None,
    reauthorize_every: float | None = None,
    *,
    takes_over: bool = False,
) -> EventStream:
    """Returns the state of a new event stream. To be called on the event loop of the subscription.

    Args:
        takes_over: Whether the subscription ends with it.
    """
    check_stream_options(heartbeat, last_event_id, render)
    check_interval("reauthorize_every", reauthorize_every, optional=True)
    topics, hub = readers.spec.topics, readers.hub
    if render is not None:
        check_names(topics)
    if last_event_id is None:
        last_event_id = readers.resumed or None
    buffer = readers.add(events=True, encoded=True, after=last_event_id, takes_over=takes_over)
    hub.stream_watch.begin()
    return EventStream(
        buffer,
        readers.channel,
        topics,
        heartbeat=heartbeat,
        last_event_id=last_event_id,
        reauthorize_every=reauthorize_every,
        leaving=lambda: hub.shutting_down,
        encode=Message.to_event if render is None else Fragments.of(render).encode,
    )


def detached_with(stream: S, readers: Readers, buffer: ReaderBuffer) -> S:
    """Returns a stream whose reader leaves when nobody holds it any more.

    A generator that is never started never runs its `finally`: a client may be gone before the first byte.
    """
    weakref.finalize(stream, readers.drop, buffer).atexit = False
    return stream


def check_stream_options(heartbeat: object, last_event_id: object, render: object) -> None:
    """Raises `ConfigurationError` for options of an event stream that are of a wrong kind."""
    check_interval("heartbeat", heartbeat)
    check_text("last_event_id", last_event_id)
    check_callable("render", render, "`def render(message): ...` that returns HTML or None", awaited=False)


def readers_of(subscription: SubscriptionFace) -> Readers:
    """Returns those who read the subscription: for what the floors above do with it."""
    return subscription._readers  # pyright: ignore[reportPrivateUsage] - of this file
