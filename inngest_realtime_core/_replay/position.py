"""Where a reader of a log stands, in words that the log of another process understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..messages.envelope import Envelope
from .event_ids import name_of, name_of_numbers
from .numbers import Numbers

_NUMBERED: Final = "\n"  # before a topic, as the key of the name of its numbers


class Position:
    """What whoever has read a log up to an offset has had.

    Attributes:
        since: Since when it has had nothing of other topics, in the units of numbers.
        names: What an event id says of each topic, the newest last.

    Args:
        began: By topic, up to which number nothing is missed, although `since` may be earlier.
    """

    __slots__ = ("_began", "_gap", "_numbers", "names", "since")

    def __init__(self, since: int, began: Mapping[str, int] | None = None) -> None:
        self.since: int = since
        self._began: Mapping[str, int] = began or {}
        self._gap = 0
        self.names: dict[str, str] = {}
        self._numbers: dict[str, Numbers] = {}

    def clear(self, since: int, until: int) -> None:
        """Begin anew with a gap, behind which nothing is missed up to a number."""
        self.since = since
        self._gap = until
        self.names.clear()
        self._numbers.clear()

    def numbers_of(self, topic: str) -> Numbers:
        """Those that it has had in a topic; not to be changed."""
        return self._numbers.get(topic) or self._new_numbers(topic)

    def _new_numbers(self, topic: str) -> Numbers:
        return Numbers(self.since, began=max(self._began.get(topic, 0), self._gap))

    def add(self, envelope: Envelope, number: int = 0, previous: int = 0) -> None:
        """Take a message; `number` is 0 where it has none."""
        topic = envelope.topic
        if number:
            self.add_number(topic, number, previous)
        else:
            self.names.pop(topic, None)
            self.names[topic] = name_of(topic, envelope.identity)

    def add_number(self, topic: str, number: int, previous: int = 0) -> None:
        """Take a message by its number."""
        numbers = self._numbers.get(topic)
        if numbers is None:
            numbers = self._numbers[topic] = self._new_numbers(topic)
        numbers.add(previous, number)
        self._name(topic, numbers)

    def unite(self, topic: str, numbers: Numbers) -> None:
        """Take what somebody has had elsewhere."""
        self._numbers[topic] = numbers = self._numbers.get(topic, numbers).united(numbers)
        self._name(topic, numbers)

    def complete(self, topic: str, until: int) -> None:
        """Called when nothing of a topic is missing up to a number."""
        if until > self.numbers_of(topic).low:
            numbers = self._numbers.setdefault(topic, self._new_numbers(topic))
            numbers.add_all(until)
            self._name(topic, numbers)

    def _name(self, topic: str, numbers: Numbers) -> None:
        key = _NUMBERED + topic
        self.names.pop(key, None)
        self.names[key] = name_of_numbers(topic, numbers)
