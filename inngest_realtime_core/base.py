"""What all methods of `Realtime` use: the settings, what is open on the running event loop, and the counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import httpx

from ._api.settings_source import SettingsSource
from ._hub.sessions import Sessions
from ._replay.log import History
from .arguments import wrong_argument
from .settings import Settings

if TYPE_CHECKING:
    from ._hub.hub import Hub

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


class RealtimeBase:
    """The base of those who publish and subscribe. `Realtime` sets the attributes."""

    _source: SettingsSource
    _sessions: Sessions
    _observers: tuple[Observer, ...] = ()

    @property
    def settings(self) -> Settings:
        """Where Inngest is and how to sign. Read from the environment at the first use.

        Raises:
            ConfigurationError: The environment is wrong.
        """
        return self._source.current()

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Tell `observer` of every operation from now on. Returns what ends that.

        An operation is a token, a publish, a subscription or a stream that is asked for; `inngest_realtime_otel` makes
        spans and durations of them.
        """
        if not callable(cast("object", observer)):
            form = "`def observer(name, attributes): ...` that returns `def finished(error): ...`"
            raise wrong_argument("The observer", observer, f"a function, {form}")
        self._observers = (*self._observers, observer)

        def remove() -> None:
            self._observers = tuple(other for other in self._observers if other is not observer)

        return remove

    @contextmanager
    def operation(self, name: str, **attributes: str) -> Generator[None]:
        """Counts what is done in its `with` block, and tells observers of it. For adapters."""
        began = time.perf_counter()
        finish = [observer(name, attributes) for observer in self._observers]

        def end(error: BaseException | None) -> None:
            self._sessions.counters().finished(name, error, time.perf_counter() - began)
            while finish:
                finish.pop()(error)

        try:
            yield
        except BaseException as error:
            end(error)
            raise
        end(None)

    def _http(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """An HTTP client of the running event loop."""
        return self._sessions.at(self.settings).resources().api.http()

    def _history(self) -> History:
        """What keeps messages on the running event loop."""
        return self._sessions.at(self.settings).resources().history

    def _hub(self) -> Hub:
        """The hub of the running event loop."""
        return self._sessions.hub(self.settings)
