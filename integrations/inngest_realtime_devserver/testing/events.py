"""Server-sent events, read as the HTML standard reads them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "EventParser", "parse_events"]


@dataclass(frozen=True)
class Event:
    """One server-sent event.

    Attributes:
        data: Its text; line breaks join several `data:` lines.
        event: Its name: `message` when it has none, `ready` or `gap` for example.
        id: Its `id:`, or None.
    """

    data: str
    event: str = "message"
    id: str | None = None

    def json(self) -> Any:
        """The text as JSON: what `Message.to_dict()` is."""
        return json.loads(self.data)


class EventParser:
    """Reads a `text/event-stream` body in pieces.

    Comments, such as heartbeats, and an event that is not complete yet yield nothing.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._begun = False
        self._data: list[str] = []
        self._name = ""
        self._id: str | None = None

    def feed(self, piece: bytes) -> list[Event]:
        """The events that are complete with this piece."""
        text = self._rest + self._decoder.decode(piece)
        if not self._begun and text:
            text, self._begun = text.removeprefix("\ufeff"), True
        # A CR at the end may be half of a line break.
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, last = text.split("\n")
        self._rest = last + held
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Event | None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            event = Event("\n".join(self._data), self._name or "message", self._id) if self._data else None
            self._data, self._name, self._id = [], "", None
            return event
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id":
            self._id = value
        return None


def parse_events(body: bytes | str | Iterable[bytes]) -> list[Event]:
    """The events of a `text/event-stream` body, or of the chunks of one.

    Comments, such as heartbeats, and an event that is not complete yet are left out.
    """
    parser = EventParser()
    if isinstance(body, str):
        body = body.encode(errors="surrogatepass")
    return [event for chunk in ([body] if isinstance(body, bytes) else body) for event in parser.feed(chunk)]
