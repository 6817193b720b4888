"""`settings.INNGEST_REALTIME`: a dictionary, every key of which may be left out.

| key | default | meaning |
|---|---|---|
| `REALTIME` | `Realtime()` | the `Realtime`, or the dotted path to it; by default one that reads the environment |
| `GRANTS` | `[]` | the list of `Grant`s, or the dotted path to it |
| `HEARTBEAT`, `MAX_STREAMS`, ... | | the options of `EndpointOptions`, in upper case; `CLIENT` may be a dotted path |

`MAX_STREAMS` is 10,000 by default under ASGI, and 16 under WSGI.

Under WSGI a stream occupies a thread: give the server more threads than `MAX_STREAMS`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from inngest_realtime_core import Realtime, RealtimeError
from inngest_realtime_core.arguments import describe
from inngest_realtime_core.endpoints import EndpointOptions, Endpoints, Grant
from inngest_realtime_core.endpoints.wsgi import MAX_STREAMS

from .requests import HOST

_T = TypeVar("_T")

SETTING = "INNGEST_REALTIME"
_OPTIONS = tuple(option.name for option in fields(EndpointOptions))
KEYS = ("REALTIME", "GRANTS", *(name.upper() for name in _OPTIONS))
_NUMBERS = (("E005", "HEARTBEAT", "of seconds above 0"), ("E006", "MAX_STREAMS", "above 0, or None for no limit"))


class Problem(Exception):
    """What is wrong with the setting.

    Attributes:
        id: The system check's.
        message: What is wrong.
        hint: What to do.
    """

    def __init__(self, id: str, message: str, hint: str) -> None:
        self.id: str = f"inngest_realtime.{id}"
        self.message: str = f"{SETTING}{message}"
        self.hint = hint
        super().__init__(f"{self.message} {hint}")


def get_realtime() -> Realtime:
    """The project's `Realtime`.

    Raises:
        ImproperlyConfigured: The setting is wrong; `manage.py check` says the same.
    """
    return _checked(_realtime)


@functools.cache
def endpoints(*, asgi: bool) -> Endpoints:
    """The endpoints of the project's grants; the same object every time.

    Raises:
        ImproperlyConfigured: The setting is wrong; `manage.py check` says the same.
    """
    return _checked(lambda: _endpoints(asgi=asgi))


def problems() -> Iterator[Problem]:
    """Everything that is wrong with the setting."""
    for look in (_unknown, _realtime, _environment, _grants, lambda: _endpoints(asgi=False)):
        try:
            look()
        except Problem as problem:
            yield problem
            if look is _unknown and not isinstance(getattr(settings, SETTING, {}), Mapping):
                return


def _checked(load: Callable[[], _T]) -> _T:
    try:
        return load()
    except Problem as problem:
        raise ImproperlyConfigured(str(problem)) from problem.__cause__


def _values() -> Mapping[str, Any]:
    values: object = getattr(settings, SETTING, {})
    if not isinstance(values, Mapping):
        raise Problem("E001", f" is {type(values).__name__}.", f"Make it a dictionary with the keys {', '.join(KEYS)}.")
    return cast("Mapping[str, Any]", values)


def _unknown() -> None:
    for key in _values():
        if key not in KEYS:
            close = difflib.get_close_matches(str(key).upper(), KEYS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"The keys are {', '.join(KEYS)}."
            raise Problem("E002", f" has the unknown key {key!r}.", hint)


@functools.cache
def _default_realtime() -> Realtime:
    return Realtime()


def _realtime() -> Realtime:
    value = _resolved("E003", "REALTIME", None)
    if value is None:
        try:
            return _default_realtime()
        except RealtimeError as error:
            raise Problem("E003", "['REALTIME'] is not set, and no Realtime could be made.", str(error)) from error
    if not isinstance(value, Realtime):
        hint = 'Give it a Realtime, or the dotted path to one: "mysite.realtime.realtime".'
        raise Problem("E003", f"['REALTIME'] is {describe(value)}, which is not a Realtime.", hint)
    return value


def _environment() -> None:
    try:
        _ = _realtime().settings
    except RealtimeError as error:
        raise Problem("E008", "['REALTIME'] cannot read its settings.", str(error)) from error


def _grants() -> list[Grant]:
    value = _resolved("E004", "GRANTS", ())
    hint = 'Give it a list of Grant objects, or the dotted path to one: "mysite.realtime.grants".'
    if not isinstance(value, (list, tuple)):
        raise Problem("E004", f"['GRANTS'] is {describe(value)}, which is not a list.", hint)
    for grant in cast("list[object]", value):
        if not isinstance(grant, Grant):
            raise Problem("E004", f"['GRANTS'] contains {describe(grant)}, which is not a Grant.", hint)
    return list(cast("list[Grant]", value))


def _endpoints(*, asgi: bool) -> Endpoints:
    values = {key.lower(): value for key, value in _values().items() if key.lower() in _OPTIONS}
    values["client"] = _resolved("E007", "CLIENT", None)
    for id, key, expected in _NUMBERS:
        value = values.get(key.lower(), 1)
        if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise Problem(id, f"[{key!r}] is {value!r}.", f"It is a number {expected}.")
    if not asgi:
        values.setdefault("max_streams", MAX_STREAMS)
    try:
        return Endpoints(_realtime(), _grants(), EndpointOptions(**values), HOST)
    except RealtimeError as error:
        raise Problem("E007", " is not accepted.", str(error)) from error


def _resolved(id: str, key: str, default: object) -> object:
    value = _values().get(key, default)
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        hint = 'It is the dotted path of a module and a name in it: "mysite.realtime.grants".'
        raise Problem(id, f"[{key!r}] is {value!r}, which cannot be imported: {error}.", hint) from error


def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        endpoints.cache_clear()


setting_changed.connect(_forget, dispatch_uid="inngest_realtime_django")
