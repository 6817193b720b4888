"""System checks of `settings.INNGEST_REALTIME`, for `manage.py check`.

| id | what is wrong |
|---|---|
| `inngest_realtime.E001` | the setting is not a dictionary |
| `inngest_realtime.E002` | an unknown key |
| `inngest_realtime.E003` | `REALTIME` cannot be imported or made, or is not a `Realtime` |
| `inngest_realtime.E004` | `GRANTS` cannot be imported, or is not a list of `Grant`s |
| `inngest_realtime.E005` | `HEARTBEAT` is not a number |
| `inngest_realtime.E006` | `MAX_STREAMS` is not a number |
| `inngest_realtime.E007` | another value or a combination that is not accepted; two grants of one name |
| `inngest_realtime.E008` | what the environment says of Inngest is wrong |
| `inngest_realtime.W001` | there are no grants, so that the endpoints serve nothing |
| `inngest_realtime.W002` | there is no signing key, and Inngest's cloud needs one |
| `inngest_realtime.W003` | the URLs are included, and the app is not in `INSTALLED_APPS` |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.urls import URLPattern

from inngest_realtime_core.errors import ConfigurationError

from . import conf


@checks.register("inngest_realtime")
def check_setting(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Everything that is wrong with `settings.INNGEST_REALTIME`."""
    found: list[checks.CheckMessage] = [
        checks.Error(problem.message, hint=problem.hint, id=problem.id)
        for problem in {str(problem): problem for problem in conf.problems()}.values()
    ]
    if not found and not conf.endpoints(asgi=False).grants:
        found.append(
            checks.Warning(
                f"{conf.SETTING}['GRANTS'] is empty: the token and stream endpoints serve nothing.",
                hint="Give it a list of Grant objects. Without endpoints of this app, take it out of the URLs and "
                'silence this with SILENCED_SYSTEM_CHECKS = ["inngest_realtime.W001"].',
                id="inngest_realtime.W001",
            )
        )
    if not found:
        try:
            conf.get_realtime().settings.require_signing_key()
        except ConfigurationError as error:
            found.append(
                checks.Warning("There is no signing key for Inngest.", hint=str(error), id="inngest_realtime.W002")
            )
    return found


class CheckedPattern(URLPattern):
    """A URL pattern that `manage.py check` asks: the app's own checks run only where it is installed."""

    def check(self) -> list[checks.CheckMessage]:
        """What is wrong with the pattern, and that the app is missing with all that its checks would say."""
        found: list[checks.CheckMessage] = list(super().check())
        if not apps.is_installed("inngest_realtime_django"):
            found.append(
                checks.Warning(
                    "inngest_realtime_django.urls is included, and the app is not in INSTALLED_APPS.",
                    hint='Add "inngest_realtime_django" to INSTALLED_APPS: it checks the settings, and has a command.',
                    id="inngest_realtime.W003",
                )
            )
            found += check_setting()
        return found
