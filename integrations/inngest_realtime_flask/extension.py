"""The extension: everything set up from `app.config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from flask import Flask, current_app

from inngest_realtime_core import ConfigurationError, Realtime, RealtimeError
from inngest_realtime_core.arguments import describe
from inngest_realtime_core.endpoints import Grant, OptionsDict
from inngest_realtime_core.settings import SettingsArguments

from .blueprint import realtime_blueprint
from .responses import realtime_error_handler

_KEY = "inngest_realtime"


class InngestRealtime:
    """Inngest Realtime as a Flask extension.

    ```python
    inngest_realtime = InngestRealtime(grants=grants)

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_prefixed_env()
        inngest_realtime.init_app(app)
        return app
    ```

    | key of `app.config` | default | meaning |
    |---|---|---|
    | `INNGEST_REALTIME_URL_PREFIX` | `"/api/realtime"` | where the endpoints are; `None` for none |
    | `INNGEST_REALTIME_MAX_STREAMS` | `16` | streams open at once in a process; `None` for no limit |
    | `INNGEST_REALTIME_HEARTBEAT`, `..._CLIENT`, `..._MAX_BODY`, ... | | the other options of `EndpointOptions`, in upper case |
    | `INNGEST_REALTIME_API_BASE_URL` | `None` | Inngest's address; `None` takes it from the environment |
    | `INNGEST_REALTIME_CLIENT_API_BASE_URL` | `None` | Inngest's address for browsers, when it differs |
    | `INNGEST_REALTIME_SIGNING_KEY`, `INNGEST_REALTIME_SIGNING_KEY_FALLBACK`, `INNGEST_REALTIME_ENV` | `None` | `None` takes them from the environment |

    The last three rows are for the `Realtime` that the extension makes when it is not given one.

    Args:
        app: Set up at once, when given.
        realtime: Shared by all applications; without it each application gets its own.
        grants: What web clients may subscribe to, and who may.
    """  # noqa: E501 - a table's rows cannot be broken

    def __init__(
        self, app: Flask | None = None, *, realtime: Realtime | None = None, grants: Sequence[Grant] = ()
    ) -> None:
        self._realtime = realtime
        self._grants = grants
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Sets up an application: its endpoints, and answers to the `RealtimeError`s of its own views.

        Raises:
            ConfigurationError: A configuration value, or the environment, is wrong; or it was set up before.
        """
        if not isinstance(cast("object", app), Flask):
            raise ConfigurationError(
                f"The application is {describe(app)}: expected a Flask. Write InngestRealtime(app, realtime=realtime, "
                "grants=[...])."
            )
        if _KEY in app.extensions:
            raise ConfigurationError("Inngest Realtime was set up for this application already: call init_app once.")
        config = cast("dict[str, Any]", app.config)
        prefix = config.setdefault("INNGEST_REALTIME_URL_PREFIX", "/api/realtime")
        realtime = self._realtime
        if realtime is None:
            realtime = Realtime(**_configured(config, SettingsArguments))
        if prefix is not None:
            options = _configured(config, OptionsDict)
            app.register_blueprint(realtime_blueprint(realtime, self._grants, **options), url_prefix=prefix)
        app.register_error_handler(RealtimeError, realtime_error_handler)
        app.extensions[_KEY] = realtime

    @property
    def realtime(self) -> Realtime:
        """The current application's `Realtime`.

        Raises:
            ConfigurationError: There is no current application, or `init_app` was not called for it.
        """
        realtime: Realtime | None = current_app.extensions.get(_KEY) if current_app else self._realtime
        if realtime is None:
            raise ConfigurationError(
                "There is no Realtime here: call init_app(app), and use it in a request or within app.app_context()."
            )
        return realtime


def _configured(config: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    """What `INNGEST_REALTIME_...` says of the arguments that a `TypedDict` has."""
    keys = {name: f"INNGEST_REALTIME_{name.upper()}" for name in arguments.__annotations__}
    return {name: config[key] for name, key in keys.items() if key in config}
