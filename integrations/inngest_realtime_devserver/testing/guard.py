"""No address beyond this machine, while tests use the fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..access import is_loopback

__all__ = ["AddressGuard"]

_CLOUD = ("inngest.com", "inn.gs")
_SDK_HEADER = b"x-inngest-sdk"  # the `inngest` package sends it with whatever it asks


class AddressGuard:
    """Refuses every address of Inngest that is neither loopback nor allowed, also to the `inngest` package.

    What that asks goes through httpx to the connections of httpcore, which are looked at: whatever is answered before
    them, by a test client or a mock (respx, pytest-httpx), stays possible.

    Args:
        allowed: Host names, with `*` for any part of one, or addresses, whose host counts; what
            `inngest_realtime_allow` says.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = [_host(entry if "://" in entry else f"//{entry}") for entry in allowed]
        self._installed: ExitStack | None = None

    def install(self) -> None:
        """Begin to refuse, in this process."""
        import httpcore

        from inngest_realtime_core.settings import address_checks

        if self._installed is None:
            self._installed = ExitStack()
            address_checks.append(self.check)
            self._installed.callback(address_checks.remove, self.check)
            patch = self._installed.enter_context(pytest.MonkeyPatch.context())
            send, send_async = httpcore.ConnectionPool.handle_request, httpcore.AsyncConnectionPool.handle_async_request

            # One is async and the argument has its name, since mocks look at what they replace.
            def handle_request(pool: Any, request: Any) -> Any:
                self._check_request(request)
                return send(pool, request)

            async def handle_async_request(pool: Any, request: Any) -> Any:
                self._check_request(request)
                return await send_async(pool, request)

            patch.setattr(httpcore.ConnectionPool, "handle_request", handle_request)
            patch.setattr(httpcore.AsyncConnectionPool, "handle_async_request", handle_async_request)

    def remove(self) -> None:
        """Refuse nothing any more."""
        if self._installed is not None:
            self._installed.close()
            self._installed = None

    def _check_request(self, request: Any) -> None:
        url, names = request.url, {name.lower() for name, _ in request.headers}
        host = url.host.decode().rstrip(".").lower()
        if _SDK_HEADER in names or any(f".{host}".endswith(f".{each}") for each in _CLOUD):
            shown = f"[{host}]" if ":" in host else host
            self.check(f"{url.scheme.decode()}://{shown}{f':{url.port}' if url.port else ''}")

    def check(self, api_base_url: str) -> None:
        """Raise `ConfigurationError` unless tests may call this address."""
        from inngest_realtime_core.errors import ConfigurationError

        host = _host(api_base_url)
        if not is_loopback(host) and not any(fnmatchcase(host, pattern) for pattern in self._allowed):
            raise ConfigurationError(
                f"A test was about to call Inngest at {api_base_url}, which is not on this machine. Point the "
                "application to the embedded server: `with realtime.override(api_base_url=inngest_realtime_server.url)`"
                ", or the fixture inngest_realtime_env for a Realtime() or an inngest.Inngest that reads the "
                "environment. Where the call is meant, allow it in the configuration of pytest: "
                f"inngest_realtime_allow = {host}"
            )


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()
