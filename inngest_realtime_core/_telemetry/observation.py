"""Telling an observer, such as `inngest_realtime_otel`, what a `Realtime` is asked to do and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
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


@contextmanager
def observed(
    name: str, attributes: Mapping[str, str], counters: Counters, observers: Iterable[Observer]
) -> Generator[None]:
    """One operation: counted, and told to observers."""
    began = time.perf_counter()
    finish = [observer(name, attributes) for observer in observers]

    def end(error: BaseException | None) -> None:
        counters.finished(name, error, time.perf_counter() - began)
        while finish:
            finish.pop()(error)

    try:
        yield
    except BaseException as error:
        end(error)
        raise
    end(None)
