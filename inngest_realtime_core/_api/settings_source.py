"""The settings of one `Realtime`: looked up at the first use, and replaced for as long as they are overridden."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..settings import HasSettings, InngestApp, Settings, SettingsArguments, settings_problem


class SettingsSource:
    """The settings of one `Realtime`: found out at the first use, and other ones for as long as they are overridden."""

    def __init__(self, app: InngestApp | HasSettings | Settings | None, given: SettingsArguments) -> None:
        self._app = app
        self._given = given
        self._known: tuple[object, Settings] | None = None
        self._overrides: list[SettingsArguments] = []

    def check(self) -> None:
        """Look at everything but the environment. `ConfigurationError` when an argument or the app is wrong."""
        error = settings_problem(self._app, self._given)
        if error is not None:
            self._given = SettingsArguments()  # an address may hold a password, and the repr shows it
            raise error
        if isinstance(self._app, (Settings, InngestApp)):
            self.current()

    def current(self) -> Settings:
        """The settings to use now. `ConfigurationError` when what the environment says is wrong."""
        base = getattr(self._app, "settings", None)  # of a Realtime, which may be overridden
        known = self._known
        if known is None or known[0] is not base:
            known = self._known = (base, Settings.resolve(self._app, **self._given))
        settings = known[1]
        for given in list(self._overrides):
            # The override's address is that of browsers, too, unless it says otherwise.
            client = given.get("client_api_base_url") or given.get("api_base_url")
            given = given.copy()
            given["client_api_base_url"] = client
            settings = Settings.resolve(settings, **given)
        return settings

    def __str__(self) -> str:
        """The address in use, or where it will be read. Reads nothing, so that a repr can show it."""
        for given in reversed(self._overrides):
            if given.get("api_base_url"):
                return given.get("api_base_url") or ""
        if self._known is not None:
            return self._known[1].api_base_url
        return self._given.get("api_base_url") or ("the environment" if self._app is None else "another Realtime")

    @contextmanager
    def override(self, given: SettingsArguments) -> Generator[None]:
        """Use other settings until the end of the block, in every thread.

        Raises:
            ConfigurationError: An argument is wrong.
        """
        error = settings_problem(None, given)
        if error is not None:
            del given
            raise error
        self._overrides.append(given)
        try:
            yield
        finally:
            # Not remove(): of two equal ones it would take the other.
            self._overrides[:] = [other for other in self._overrides if other is not given]
