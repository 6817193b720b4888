"""Messages as HTML: what `render=` makes of them, once for everybody who streams them."""

from __future__ import annotations

import functools
import logging
import re
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from .._telemetry.throttled_log import ThrottledLog
from ..errors import ConfigurationError
from ..messages.message import Message

_log = ThrottledLog(logging.getLogger("inngest_realtime.sse"))

# Names that an `EventSource` has for its own events, and those of an event stream.
_RESERVED: Final = frozenset({"error", "open", "message", "ready", "gap", "closing", "end"})

Render = Callable[[Message[Any]], "str | None"]
"""`render(message)`: the HTML for a message, or None for none."""

_LINE: Final = re.compile(r"\r\n|\r|\n")


def check_names(topics: Iterable[str]) -> None:
    """Raises `ConfigurationError` when a topic's name is that of another event."""
    for topic in topics:
        if topic in _RESERVED:
            raise ConfigurationError(
                f"The topic {topic!r} cannot be rendered: its events would be taken for others of that name. "
                f"Rename it; these are taken: {', '.join(sorted(_RESERVED))}."
            )
        if _LINE.search(topic):
            raise ConfigurationError(f"The topic {topic!r} cannot be rendered: an event's name is one line.")


class _Made:
    """The event of one message, made by the first thread that asks for it."""

    __slots__ = ("event", "lock")

    def __init__(self) -> None:
        self.event: bytes | None = None
        self.lock = threading.RLock()


class Fragments:
    """Makes server-sent events of HTML: `event: <topic>`, and the id of the message.

    What `render` raises leaves out that message alone, and is logged.

    Args:
        render: Makes HTML of a message, or None for none.
    """

    def __init__(self, render: Render) -> None:
        self._render: Callable[[Message[Any]], object] = render
        self._made: weakref.WeakKeyDictionary[Message[Any], _Made] = weakref.WeakKeyDictionary()

    @classmethod
    @functools.lru_cache(maxsize=64)
    def of(cls, render: Render) -> Fragments:
        """The same for every stream of the same function: a message is rendered once for all of them."""
        return cls(render)

    def encode(self, message: Message[Any]) -> bytes:
        """The event of a message; empty where there is none. A gap is what it is in every event stream."""
        if message.kind == "gap":
            return message.to_event()
        made = self._made.get(message) or self._made.setdefault(message, _Made())
        with made.lock:
            if made.event is None:
                made.event = self._encode(message)
            return made.event

    def _encode(self, message: Message[Any]) -> bytes:
        try:
            html = self._render(message)
        except Exception as error:
            text = (
                f"render failed; a message of topic {message.topic!r} is left out. The traceback says where to mend it."
            )
            kind = (message.channel, message.topic, type(error))
            _log.write(logging.ERROR, kind, text, error, event="render.failed", traceback=True)
            return b""
        if html is None:
            return b""
        if not isinstance(html, str):
            text = f"render returned {type(html).__name__}: expected HTML as a str, or None."
            _log.write(logging.ERROR, (message.channel, message.topic, type(html)), text, event="render.failed")
            return b""
        lines = [f"event: {message.topic}", *(f"data: {line}" for line in _LINE.split(html))]
        if message.event_id is not None:
            lines.append(f"id: {message.event_id}")
        return "\n".join([*lines, "\n"]).encode("utf-8", "replace")
