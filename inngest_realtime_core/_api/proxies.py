"""Which proxy leads to Inngest: one decision for HTTP and for WebSockets."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import ConfigurationError, UnreachableError

_SOCKS_PACKAGES: Final = ("socksio", "python_socks")  # what httpx needs, and what websockets needs


def proxy_for(url: str, proxy: str | None) -> str | None:
    """Decide by which proxy an address is reached.

    Args:
        url: The http(s) address of Inngest; a WebSocket is reached as the HTTP of the same address.
        proxy: What the application has set. None follows the environment: `http_proxy` or `https_proxy` by the
            address's scheme, then `all_proxy`, each also in capitals, but for the hosts in `no_proxy`; where there are
            none, the system's settings on macOS and Windows.

    Returns:
        The proxy's address, or None for a direct connection.

    Raises:
        ConfigurationError: The proxy is of another kind than HTTP and SOCKS5, or needs packages that are not installed.
    """
    source = "proxy="
    if proxy is None:
        proxy, source = _from_environment(url)
        if proxy is None:
            return None
    problem = _problem(proxy, source)
    if problem is not None:
        del proxy  # it may hold a password, and error reports show local variables
        raise problem
    return proxy


def through_proxy(proxy: str | None) -> str:
    """The end of a sentence of an error: which proxy was in between, without its password. Empty where none was."""
    if proxy is None:
        return ""
    parts = urlsplit(proxy)
    port = f":{parts.port}" if parts.port else ""
    return (
        f" through the proxy {parts.scheme}://{parts.hostname}{port} (of proxy=, http_proxy, https_proxy or all_proxy)"
    )


@contextmanager
def named_in_errors(through: str) -> Generator[None, None, None]:
    """Adds the proxy to what is raised when Inngest cannot be reached: it may be the proxy that cannot be.

    Args:
        through: What `through_proxy` has returned.
    """
    try:
        yield
    except UnreachableError as error:
        if through:
            error.args = (f"{error} It was tried{through}.",)
        raise


def _from_environment(url: str) -> tuple[str | None, str]:
    parts = urlsplit(url)
    proxies = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    if kind is None or proxy_bypass(parts.netloc):
        return None, ""
    proxy = proxies[kind]
    names = (f"{kind}_proxy", f"{kind}_proxy".upper())
    source = next((name for name in names if os.environ.get(name)), "the system's proxy settings")
    return proxy if "://" in proxy else f"http://{proxy}", source


def _problem(proxy: str, source: str) -> ConfigurationError | None:
    scheme = proxy.partition("://")[0].lower()
    if scheme not in ("http", "https", "socks5", "socks5h"):
        return ConfigurationError(
            f"The proxy of {source} is of a kind that is not supported. Expected http://host:port, https://... or "
            "socks5://..., or exclude Inngest's host with no_proxy."
        )
    if scheme.startswith("socks") and not all(map(importlib.util.find_spec, _SOCKS_PACKAGES)):
        return ConfigurationError(
            f"{source} names a SOCKS proxy, for which packages are missing. Install them (pip install 'httpx[socks]' "
            "'python-socks[asyncio]'), or exclude Inngest's host with no_proxy."
        )
    return None
