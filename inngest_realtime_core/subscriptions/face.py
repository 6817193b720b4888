"""What both faces of a subscription have, the async one and the sync one."""

from __future__ import annotations

from typing import NoReturn

from .._hub.readers import Readers
from .._upstream.subscriber import State
from ..arguments import check_callable, check_interval, check_text
from ..errors import RealtimeError
from ..messages.message import Message
from .fragments import Fragments, Render, check_names
from .sse import EventStream


class SubscriptionFace:
    """An open subscription.

    Attributes:
        channel: The channel's name.
        topics: The names of the topics.
    """

    def __init__(self, readers: Readers) -> None:
        readers.add_face()
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

    def _new_event_stream(
        self,
        heartbeat: float,
        last_event_id: str | None,
        reauthorize_every: float | None,
        render: Render | None = None,
        *,
        takes_over: bool = False,
    ) -> EventStream:
        """Returns the state of a new event stream. To be called on the event loop of the subscription.

        Args:
            takes_over: Whether the subscription ends with it.
        """
        check_stream_options(heartbeat, last_event_id, render)
        check_interval("reauthorize_every", reauthorize_every, optional=True)
        readers = self._readers
        if render is not None:
            check_names(self.topics)
        if last_event_id is None:
            last_event_id = readers.resumed or None
        buffer = readers.add(events=True, encoded=True, after=last_event_id, takes_over=takes_over)
        readers.hub.stream_watch.begin()
        hub = readers.hub
        return EventStream(
            buffer,
            self.channel,
            self.topics,
            heartbeat=heartbeat,
            last_event_id=last_event_id,
            reauthorize_every=reauthorize_every,
            leaving=lambda: hub.shutting_down,
            encode=Message.to_event if render is None else Fragments.of(render).encode,
        )


def check_stream_options(heartbeat: object, last_event_id: object, render: object) -> None:
    """Raises `ConfigurationError` for options of an event stream that are of a wrong kind."""
    check_interval("heartbeat", heartbeat)
    check_text("last_event_id", last_event_id)
    check_callable("render", render, "`def render(message): ...` that returns HTML or None", awaited=False)


def readers_of(subscription: SubscriptionFace) -> Readers:
    """Returns those who read the subscription: for what the floors above do with it."""
    return subscription._readers  # pyright: ignore[reportPrivateUsage]
