"""Checks of the arguments that callers give: each error names the argument and says what was expected."""

from __future__ import annotations

import inspect
from typing import Final, Literal, TypeGuard, TypeVar
from urllib.parse import urlsplit

from .errors import ConfigurationError

T = TypeVar("T")

Rewind = int | Literal["all"]
"""How many messages of each topic that came before are asked for."""

MAX_SECONDS: Final = 31_536_000.0
"""A year: what clocks, locks and polls of the system take; more is a mistake."""

MAX_COUNT: Final = 10**12
"""Of messages or bytes: what Redis and others count with."""


def describe(value: object) -> str:
    """What a wrong argument is, without repeating a value that may be long or secret."""
    if isinstance(value, int) and abs(value) > 10**18:  # thousands of digits have no repr
        return "a number of more than 18 digits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"the class {value.__name__}" if isinstance(value, type) else f"a value of type {type(value).__name__}"


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry a text: half of a surrogate pair, which JSON can escape, nothing can encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def wrong_argument(name: str, value: object, expected: str) -> ConfigurationError:
    """The error of an argument, option or setting that is something else than expected."""
    return ConfigurationError(f"{name} is {describe(value)}: expected {expected}.")


def is_number(value: object, least: float, most: float = MAX_SECONDS) -> TypeGuard[float]:
    """Whether it is a number in these bounds; NaN is in none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def check_seconds(name: str, value: object, *, least: float = 0.0) -> float:
    """Return a number of seconds. `ConfigurationError` for anything but one of at least `least` and at most a year."""
    if is_number(value, least):
        return value
    raise wrong_argument(name, value, f"a number of seconds, from {least:g} to a year")


def check_interval(name: str, value: T, *, optional: bool = False) -> T:
    """Return a number of seconds above 0, a year at most, or None where optional. Else `ConfigurationError`."""
    given: object = value
    if (given is None and optional) or (is_number(given, 0) and given > 0):
        return value
    either = ", or None" if optional else ""
    raise wrong_argument(name, value, f"a number of seconds above 0, at most a year{either}")


def check_timeout(value: object) -> None:
    """`ConfigurationError` for anything but a number of seconds of at most a year, and None."""
    if value is not None and not is_number(value, -MAX_SECONDS):
        raise wrong_argument("timeout", value, "a number of seconds, at most a year, or None to wait for ever")


def check_count(name: str, value: object, *, least: int = 1, of: str = "") -> int:
    """Return a whole number of at most `MAX_COUNT`. `ConfigurationError` for anything else, `True` and `1.0` too."""
    if is_number(value, least, MAX_COUNT) and isinstance(value, int):
        return value
    raise wrong_argument(name, value, f"a whole number{of and f' of {of}'} from {least} to {MAX_COUNT:,}")


def check_flag(name: str, value: object) -> bool:
    """Return True or False. `ConfigurationError` for anything else: `"false"` from a file would be true."""
    if isinstance(value, bool):
        return value
    raise wrong_argument(name, value, "True or False")


def check_text(name: str, value: object) -> str | None:
    """Return a text, or None where it is None or empty, which both mean that it is not given."""
    if value is None or isinstance(value, str):
        return value or None
    raise wrong_argument(name, value, "a str")


def check_callable(name: str, value: T, form: str, *, awaited: bool = True) -> T:
    """Return a function, or None. `form` says how to write one, such as `def on_error(error): ...`.

    Args:
        awaited: Whether it may be async.
    """
    given: object = value
    kind = None
    if given is not None and not callable(given):
        kind = describe(given)
    elif inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
        kind = "a generator function, with a `yield` in it, of which a call runs nothing"
    elif not awaited and inspect.iscoroutinefunction(given):
        kind = "an async function, which nothing awaits"
    if kind is not None:
        raise ConfigurationError(f"{name} is {kind}: expected a function, {form}.")
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


def check_rewind(name: str, rewind: T) -> T:
    """Return None, a whole number of messages above 0, or "all". Else `ConfigurationError`."""
    given: object = rewind
    if given is None or given == "all" or (isinstance(given, int) and is_number(given, 1, MAX_COUNT)):
        return rewind
    raise wrong_argument(name, rewind, 'a number of messages for each topic above 0, or "all"')
