"""`topic(..., exclude_none=True)`: fields that are None are left out of what is sent, and read back as None."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import TypeAdapter

from ..errors import ConfigurationError
from ..messages.sparse import leave_none_out

_FIELDS = ("model-field", "dataclass-field", "typed-dict-field")


def exclude_none(adapter: TypeAdapter[Any], *, topic: str) -> None:
    """Makes an adapter leave out the fields of models, dataclasses and TypedDicts that are None.

    Raises:
        ConfigurationError: A field may be None and has another default, or none: a subscriber could not tell that None
            was meant.
    """
    schema: Any = adapter.core_schema
    known = {item["ref"]: item for item in schema.get("definitions", ())}
    for name, field in _fields(schema, ""):
        if may_be_none(field["schema"], known) and not _reads_none(field):
            raise ConfigurationError(
                f"topic {topic!r} is declared with exclude_none=True, and its field {name!r} may be None without being "
                f"None by default: subscribers could not tell what was left out. Write {name}: ... | None = None."
            )
    leave_none_out(adapter)


def may_be_none(schema: Any, known: Mapping[str, Any]) -> bool:
    """Whether None fulfils a core schema of pydantic.

    Args:
        known: The definitions that it may refer to, by their names.
    """
    kind = schema["type"]
    if kind in ("any", "none", "nullable"):
        return True
    if kind == "definition-ref":
        return schema["schema_ref"] in known and may_be_none(known[schema["schema_ref"]], known)
    if kind == "literal":
        return None in schema["expected"]
    if kind == "union":
        choices = [cast("Any", choice)[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]]
        return any(may_be_none(choice, known) for choice in choices)
    return "schema" in schema and kind not in ("model", "dataclass") and may_be_none(schema["schema"], known)


def _fields(part: object, name: str) -> Iterator[tuple[str, Any]]:
    """All fields in a core schema, each with its name."""
    if isinstance(part, dict):
        entry = cast("Any", part)
        if entry.get("type") in _FIELDS:
            yield entry.get("name", name), entry
        for key, value in entry.items():
            if key not in ("metadata", "serialization", "default"):
                yield from _fields(value, key)
    elif isinstance(part, (list, tuple)):
        for item in cast("Any", part):
            yield from _fields(item, name)


def _reads_none(field: Any) -> bool:
    """Whether None is what is read where a field is absent."""
    schema = field["schema"]
    if schema["type"] != "default":
        return field["type"] == "typed-dict-field" and field.get("required") is False
    return "default" in schema and schema["default"] is None
