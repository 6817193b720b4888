"""No address beyond this machine, while tests use the fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from ..access import is_loopback

__all__ = ["AddressGuard"]


class AddressGuard:
    """Refuses every address of Inngest that is neither loopback nor allowed.

    Args:
        allowed: Host names, with `*` for any part of one, or addresses, whose host counts; what
            `inngest_realtime_allow` says.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = [_host(entry if "://" in entry else f"//{entry}") for entry in allowed]
        self._installed = False

    def install(self) -> None:
        """Begin to refuse, in this process."""
        from inngest_realtime_core.settings import address_checks

        if not self._installed:
            self._installed = True
            address_checks.append(self.check)

    def remove(self) -> None:
        """Refuse nothing any more."""
        from inngest_realtime_core.settings import address_checks

        if self._installed:
            self._installed = False
            address_checks.remove(self.check)

    def check(self, api_base_url: str) -> None:
        """Raise `ConfigurationError` unless tests may call this address."""
        from inngest_realtime_core.errors import ConfigurationError

        host = _host(api_base_url)
        if not is_loopback(host) and not any(fnmatchcase(host, pattern) for pattern in self._allowed):
            raise ConfigurationError(
                f"A test was about to call Inngest at {api_base_url}, which is not on this machine. Point the "
                "application to the embedded server: `with realtime.override(api_base_url=inngest_realtime_server.url)`"
                ", or the fixture inngest_realtime_env for a Realtime() that reads the environment. Where the call is "
                f"meant, allow it in the configuration of pytest: inngest_realtime_allow = {host}"
            )


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()
