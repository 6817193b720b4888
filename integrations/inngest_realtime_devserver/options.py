"""The bounds of the server's options."""

from __future__ import annotations

from inngest_realtime_core.errors import ConfigurationError

from .access import is_loopback

__all__ = ["SECONDS", "check_options"]

_YEAR = 31_536_000.0
SECONDS = {  # the least and the most of each option that is a time
    "registration_delay": (0.0, 3_600.0),
    "keepalive": (0.01, _YEAR),
    "token_ttl": (0.01, _YEAR),
    "closing_grace": (0.0, _YEAR),
}


def check_options(*, host: str, port: int, allow_remote: bool, **seconds: float) -> None:
    """Raise `ConfigurationError`, naming the option, when one is out of bounds."""
    if type(port) is not int or not 0 <= port <= 65_535:
        raise ConfigurationError(
            f"port={port!r} is not a port. Expected a whole number from 0 (any free one) to 65535."
        )
    for name, value in seconds.items():
        least, most = SECONDS[name]
        if type(value) not in (int, float) or not least <= value <= most:
            raise ConfigurationError(f"{name}={value!r} is out of bounds. Expected {least:g} to {most:g} seconds.")
    if not allow_remote and not is_loopback(host):
        raise ConfigurationError(
            f"host={host!r} lets other machines in, and this server is for development: everybody may subscribe and "
            "publish. Use 127.0.0.1, or say that you mean it with allow_remote=True (--allow-remote)."
        )
