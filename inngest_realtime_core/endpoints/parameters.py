"""The parameters of a request: the (name, value) pairs of its query and its body, within bounds. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn, cast
from urllib.parse import parse_qsl

from ..arguments import is_encodable
from .errors import EndpointError

TOPICS: Final = "topics"

_MAX_PARAMETERS: Final = 256
_MAX_NAME: Final = 128  # characters
_MAX_VALUE: Final = 8_192  # characters: a token that `authorize` reads may be long
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_BOUNDARY: Final = re.compile(r'\bboundary="?([^";,\s]{1,70})', re.IGNORECASE)
_FIELD: Final = re.compile(rb'form-data;\s*name="([^"]*)"\s*(?:\r\n|$)', re.IGNORECASE)  # of a file, more follows


class _Object(list["tuple[str, object]"]):
    """A JSON object as pairs: a dict would hide that a key is there twice."""


def query_parameters(query: str) -> list[tuple[str, str]]:
    """The pairs of a query string, or of a form-encoded body.

    Raises:
        EndpointError: 400, there are too many, or one is too long.
    """
    try:
        # WSGI servers hand over bytes beyond ASCII as Latin-1.
        query = query.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        pass
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise _too_many() from None
    return list(_bounded(pairs))


def body_parameters(body: bytes, content_type: str = "") -> list[tuple[str, str]]:
    """The pairs of a body, as a query would have spelt them: of a JSON object, or of a form.

    Raises:
        EndpointError: 400, it is neither, names something twice, or holds too much.
    """
    body = body.strip()
    if not body:
        return []
    if content_type.partition(";")[0].strip().lower() in _FORMS and not body.startswith(b"{"):
        if (boundary := _BOUNDARY.search(content_type)) and body.startswith(b"--"):
            return list(_bounded(_multipart_pairs(body, boundary[1])))
        return query_parameters(body.decode("latin-1"))
    try:
        document: Any = json.loads(body.decode(), object_pairs_hook=_Object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, _Object):
        raise _malformed()
    if len(document) > _MAX_PARAMETERS:
        raise _too_many()
    return list(_bounded(_json_pairs(document)))


def _multipart_pairs(body: bytes, boundary: str) -> Iterator[tuple[str, str]]:
    """The fields of a form as browsers send `FormData`. Files are refused."""
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if sections[-1] != b"--":
        raise _malformed()
    if len(sections) > _MAX_PARAMETERS + 2:
        raise _too_many()
    for section in sections[1:-1]:
        head, _, value = section.partition(b"\r\n\r\n")
        if (field := _FIELD.search(head)) is None:
            raise _malformed()
        yield field[1].decode(errors="replace"), value.decode(errors="replace")


def spelling_of(name: str) -> str:
    """The name without what some clients add to repeated ones: `topics[]` and `topics[0]` are `topics`."""
    base, bracket, rest = name.partition("[")
    return base if bracket and (rest == "]" or (rest[:-1].isdecimal() and rest.endswith("]"))) else name


def _json_pairs(document: _Object) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, value in document:
        name = spelling_of(key)
        if not is_encodable(key):
            raise EndpointError(400, "malformed_body", "A parameter's name is not a text.")
        if key in seen:
            raise repeated(key)
        seen.add(key)
        if value is None and name in (TOPICS, "full"):
            continue  # left open, by a client that writes out everything
        if name != TOPICS:
            yield key, _string(key, value)
        elif isinstance(value, list) and not isinstance(value, _Object):
            items = cast("list[object]", value)
            if len(items) > _MAX_PARAMETERS:
                raise _too_many()
            yield from ((name, _string(name, item)) for item in items or [""])
        else:
            yield name, _string(name, value)


def _bounded(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in pairs:
        if len(name) > _MAX_NAME:
            raise EndpointError(400, "unknown_parameter", f"A parameter's name is longer than {_MAX_NAME} characters.")
        if len(value) > _MAX_VALUE:
            message = f"{name} is longer than {_MAX_VALUE} characters."
            raise EndpointError(422, "invalid_parameter", message, parameter=name)
        yield name, value


def _string(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        text = str(value)
        if is_encodable(text):
            return text
    message = f"{name} has a value that is neither a string nor an integer."
    raise EndpointError(400, "malformed_body", message, parameter=name)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def repeated(name: str) -> EndpointError:
    """The error of a parameter that one source has twice."""
    return EndpointError(400, "repeated_parameter", f"{name} is given more than once.", parameter=name)


def _malformed() -> EndpointError:
    return EndpointError(400, "malformed_body", "The body is neither a JSON object nor a form.")


def _too_many() -> EndpointError:
    return EndpointError(400, "too_many_parameters", f"A request has at most {_MAX_PARAMETERS} parameters.")
