"""The parts of a typed value that have no type of their own, such as those declared as `Any`.

pydantic writes there what JSON cannot say as something else: NaN becomes null, bytes become text, keys that are no
text become text and may collide. So these parts are held to what is asked of data without a type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from pydantic import TypeAdapter

Parts = Iterator[tuple[str, Any]]
Walk = Callable[[Any, str], Parts]

_SEQUENCES = (list, tuple, set, frozenset)
# What these say of a value is what the schema inside says.
_INNER = {
    "definitions": "schema",
    "nullable": "schema",
    "default": "schema",
    "function-before": "schema",
    "function-after": "schema",
    "function-wrap": "schema",
    "json-or-python": "json_schema",
    "lax-or-strict": "strict_schema",
}


def untyped_parts(value: object, adapter: TypeAdapter[Any], path: str) -> Parts:
    """Where a validated value has parts without a type: pairs of a path, such as `data.tags[0]`, and the part.

    Args:
        path: That of the value itself.
    """
    walk = _walk_of(adapter)
    return iter(()) if walk is None else walk(value, path)


@functools.lru_cache(maxsize=1024)
def _walk_of(adapter: TypeAdapter[Any]) -> Walk | None:
    schema = adapter.core_schema
    return _Reader(schema).read(schema)


class _Reader:
    """Makes of a schema of pydantic a function that finds the parts; None where there are none to find."""

    def __init__(self, schema: Any) -> None:
        self._definitions: dict[str, Any] = {}
        self._walks: dict[str, Walk | None] = {}
        if schema["type"] == "definitions":
            self._definitions = {definition["ref"]: definition for definition in schema["definitions"]}

    def read(self, schema: Any) -> Walk | None:
        kind = schema["type"]
        if kind == "definition-ref":
            return self._read_definition(schema["schema_ref"])
        if "serialization" in schema and kind != "json-or-python":
            return None  # how it is written is said by whoever wrote the type
        if kind in _INNER:
            return self.read(schema[_INNER[kind]])
        if kind == "any":
            return _untyped
        if kind in ("model", "dataclass"):
            return self._read_class(schema)
        if kind in ("union", "tagged-union"):
            return self._read_union(schema["choices"])
        if kind == "dict":
            return _of_dict(self.read(schema.get("keys_schema", _ANY)), self.read(schema.get("values_schema", _ANY)))
        if kind in ("list", "set", "frozenset"):
            return _of_items(self.read(schema.get("items_schema", _ANY)))
        if kind == "tuple" and schema.get("variadic_item_index") == 0 and len(schema["items_schema"]) == 1:
            return _of_items(self.read(schema["items_schema"][0]))
        if kind == "typed-dict":
            return self._read_fields(schema["fields"], _entries, extra=schema.get("extra_behavior") == "allow")
        return None

    def _read_union(self, choices: Any) -> Walk | None:
        schemas: list[Any] = list(choices.values() if hasattr(choices, "values") else choices)
        fitting: list[tuple[type[Any], Walk]] = []
        for schema in schemas:
            choice = _choice(schema)
            walk_choice = self.read(choice)
            if walk_choice is not None:
                fitting.append((_class_of(self._resolved(choice)), walk_choice))
        # The most definite first: Any fits everything.
        fitting.sort(key=lambda one: one[0] is object)

        def walk(value: Any, path: str) -> Parts:
            for cls, inner in fitting:
                if isinstance(value, cls):
                    yield from inner(value, path)
                    return

        return walk if fitting else None

    def _resolved(self, schema: Any) -> Any:
        while True:
            if schema["type"] == "definition-ref":
                schema = self._definitions[schema["schema_ref"]]
            elif schema["type"] in _INNER:
                schema = schema[_INNER[schema["type"]]]
            else:
                return schema

    def _read_definition(self, name: str) -> Walk | None:
        if name not in self._walks:
            # A type that holds itself meets this one, which looks up the other when it is called.
            self._walks[name] = functools.partial(self._walk_definition, name)
            self._walks[name] = self.read(self._definitions[name])
        return self._walks[name]

    def _walk_definition(self, name: str, value: Any, path: str) -> Parts:
        walk = self._walks[name]
        return iter(()) if walk is None else walk(value, path)

    def _read_class(self, schema: Any) -> Walk | None:
        inner = self._resolved(schema["schema"])
        if schema.get("root_model"):
            walk = self.read(inner)
            return None if walk is None else lambda value, path: walk(getattr(value, "root", value), path)
        given: Any = inner.get("fields", {})
        fields: dict[str, Any] = given if hasattr(given, "items") else {field["name"]: field for field in given}
        extra = schema.get("config", {}).get("extra_fields_behavior") == "allow"
        names = tuple(fields)
        return self._read_fields(fields, lambda value: _attributes(value, names), extra=extra)

    def _read_fields(
        self, fields: Mapping[str, Any], entries: Callable[[Any], Mapping[str, Any]], *, extra: bool
    ) -> Walk | None:
        walks = {
            name: None if field.get("serialization_exclude") else self.read(field["schema"])
            for name, field in fields.items()
        }

        def walk(value: Any, path: str) -> Parts:
            for name, part in entries(value).items():
                inner = walks.get(name, _untyped)
                if inner is not None:
                    yield from inner(part, f"{path}.{name}")

        return walk if extra or any(walks.values()) else None


_ANY = {"type": "any"}
_CLASSES = {"dict": dict, "typed-dict": dict, "list": list, "set": set, "frozenset": frozenset, "tuple": tuple}


def _class_of(schema: Any) -> type[Any]:
    return schema["cls"] if schema["type"] in ("model", "dataclass") else _CLASSES.get(schema["type"], object)


def _choice(schema: Any) -> Any:
    # A choice may come with a label.
    return cast("Any", schema[0]) if isinstance(schema, tuple) else schema


def _entries(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value if isinstance(value, dict) else {})


def _attributes(value: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
    extra: Mapping[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
    return {**{name: getattr(value, name) for name in names if hasattr(value, name)}, **extra}


def _untyped(value: Any, path: str) -> Parts:
    yield path, value


def _of_items(items: Walk | None) -> Walk | None:
    def walk(value: Any, path: str) -> Parts:
        if items is not None and isinstance(value, _SEQUENCES):
            for index, item in enumerate(cast("Iterable[Any]", value)):
                yield from items(item, f"{path}[{index}]")

    return None if items is None else walk


def _of_dict(keys: Walk | None, values: Walk | None) -> Walk:
    # Of keys with a type pydantic writes half a surrogate pair as something else, too, and `1` and `"1"` as one.
    def walk(value: Any, path: str) -> Parts:
        pairs = cast("dict[Any, Any]", value if isinstance(value, Mapping) else {})
        if keys is not None or all(isinstance(key, str) for key in pairs) or len(set(map(str, pairs))) < len(pairs):
            yield path, dict.fromkeys(pairs)
        if values is not None:
            for key, item in pairs.items():
                yield from values(item, f"{path}.{key}")

    return walk
