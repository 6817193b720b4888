"""Telling an observer, such as `inngest_realtime_otel`, what a `Realtime` is asked to do and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from ..stats import Counters

Observer = Callable[[str, Mapping[str, str]], Callable[[BaseException | None], None]]
"""Called as an operation begins, with its name (`token`, `publish`, `publish_stream`, `subscribe`, `stream`) and its
`channel`, `topic` or `grant`; returns what is called as it ends, with the error or None. Both are called in the task
or thread of the operation, and must neither block nor raise."""


class Slots(Protocol):
    """What so many streams at once may use."""

    @property
    def limit(self) -> int | None: ...
    @property
    def used(self) -> int: ...


class Operation:
    """One operation, for a `with` block: counted, and told to observers."""

    __slots__ = ("_attributes", "_began", "_counters", "_finish", "_name", "_observers")

    def __init__(
        self, name: str, attributes: Mapping[str, str], counters: Counters, observers: tuple[Observer, ...]
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._counters = counters
        self._observers = observers
        self._finish: list[Callable[[BaseException | None], None]] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        for observer in self._observers:
            self._finish.append(observer(self._name, self._attributes))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._counters.finished(self._name, exc, time.perf_counter() - self._began)
        while self._finish:
            self._finish.pop()(exc)
