"""Checks of the arguments that callers give: each error names the argument and says what was expected."""

from __future__ import annotations

import math
from typing import TypeVar
from urllib.parse import urlsplit

from .errors import ConfigurationError

T = TypeVar("T")


def describe(value: object) -> str:
    """What a wrong argument is, without repeating a value that may be long or secret."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"the class {value.__name__}" if isinstance(value, type) else f"a value of type {type(value).__name__}"


def check_seconds(name: str, value: object, *, least: float = 0.0) -> float:
    """Return a number of seconds. `ConfigurationError` for anything but a finite number of at least `least`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= least:
        return value
    raise ConfigurationError(f"{name} is {describe(value)}: expected a number of seconds, at least {least:g}.")


def check_interval(name: str, value: object, *, optional: bool = False) -> None:
    """`ConfigurationError` for anything but a finite number of seconds above 0, and None where it is optional."""
    if value is None and optional:
        return
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return
    raise ConfigurationError(
        f"{name} is {describe(value)}: expected a number of seconds above 0{', or None' if optional else ''}."
    )


def check_timeout(value: object) -> None:
    """`ConfigurationError` for anything but a finite number of seconds, and None."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)):
        return
    raise ConfigurationError(f"timeout is {describe(value)}: expected a number of seconds, or None to wait for ever.")


def check_count(name: str, value: object, *, least: int = 1, of: str = "") -> int:
    """Return a whole number. `ConfigurationError` for anything else, `True` and `1.0` included."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ConfigurationError(f"{name} is {describe(value)}: expected a whole number{of and f' of {of}'} >= {least}.")


def check_flag(name: str, value: object) -> bool:
    """Return True or False. `ConfigurationError` for anything else: `"false"` from a file would be true."""
    if isinstance(value, bool):
        return value
    raise ConfigurationError(f"{name} is {describe(value)}: expected True or False.")


def check_text(name: str, value: object) -> str | None:
    """Return a text, or None where it is None or empty, which both mean that it is not given."""
    if value is None or isinstance(value, str):
        return value or None
    raise ConfigurationError(f"{name} is {describe(value)}: expected a str.")


def check_callable(name: str, value: T, form: str) -> T:
    """Return a function, or None. `form` says how to write one, such as `def on_error(error): ...`."""
    if value is not None and not callable(value):
        raise ConfigurationError(f"{name} is {describe(value)}: expected a function, {form}.")
    return value


def is_proxy(proxy: object) -> bool:
    """Whether something is a proxy's address, or None."""
    if not isinstance(proxy, str):
        return proxy is None
    try:
        parts = urlsplit(proxy)
        return parts.scheme in ("http", "https", "socks5", "socks5h") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def check_rewind(name: str, rewind: object) -> None:
    """`ConfigurationError` for anything but None, a whole number of messages above 0, or "all"."""
    if rewind is None or rewind == "all" or (isinstance(rewind, int) and not isinstance(rewind, bool) and rewind > 0):
        return
    raise ConfigurationError(f'{name} is {rewind!r}: expected a number of messages for each topic above 0, or "all".')
