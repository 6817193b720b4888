"""What all methods of `Realtime` use: the settings, what is open on the running event loop, and the counters."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import cast

import httpx

from ._api.settings_source import SettingsSource
from ._hub.hub import Hub
from ._hub.sessions import Sessions
from ._replay.log import History
from ._telemetry.observation import Observer, observed
from .arguments import describe
from .errors import ConfigurationError
from .settings import Settings


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
            raise ConfigurationError(
                f"The observer is {describe(observer)}: expected a function, "
                "`def observer(name, attributes): ...` that returns `def finished(error): ...`."
            )
        self._observers = (*self._observers, observer)

        def remove() -> None:
            self._observers = tuple(other for other in self._observers if other is not observer)

        return remove

    def operation(self, name: str, **attributes: str) -> AbstractContextManager[None]:
        """Counts what is done in its `with` block, and tells observers of it. For adapters."""
        return observed(name, attributes, self._sessions.counters(), self._observers)

    def _http(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """An HTTP client of the running event loop."""
        return self._sessions.at(self.settings).resources().api.http()

    def _history(self) -> History:
        """What keeps messages on the running event loop."""
        return self._sessions.at(self.settings).resources().history

    def _hub(self) -> Hub:
        """The hub of the running event loop."""
        return self._sessions.hub(self.settings)
