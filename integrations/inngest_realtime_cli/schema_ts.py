"""JSON schemas as pydantic writes them, turned into TypeScript types and zod schemas. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

__all__ = ["RESERVED", "Definitions", "Schema", "comment", "literal", "property_name", "type_names"]

Schema = Mapping[str, Any]

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_REFERENCE = "#/$defs/"

# What TypeScript calls these: a type of one's own by such a name would hide them or be refused.
_WORDS = """
    any as async await bigint boolean break case catch class const continue debugger default delete do else enum export
    extends false finally for function if implements import in infer instanceof interface keyof let never new null
    number object package private protected public readonly return static string super switch symbol this throw true
    try type typeof undefined unique unknown var void while with yield arguments eval globalThis
    Array Boolean Date Error JSON Map Number Object Partial Promise Record Set String Symbol
"""
RESERVED = frozenset(_WORDS.split())


def type_names(keys: Sequence[str], taken: set[str]) -> dict[str, str]:
    """A TypeScript name for each definition: `Page[int]` (`Page_int_`) -> `PageInt`, none twice, none reserved."""
    names: dict[str, str] = {}
    for key in sorted(keys):
        words = [word for word in re.split(r"\W+|_+", key, flags=re.ASCII) if word]
        base = "".join(word[:1].upper() + word[1:] for word in words) or "Type"
        if base[0].isdigit():
            base = f"Type{base}"
        name, number = base, 2
        while name in taken or name in RESERVED:
            name, number = f"{base}{number}", number + 1
        taken.add(name)
        names[key] = name
    return names


def property_name(name: str) -> str:
    """A property as TypeScript spells it: bare where it may be, else quoted."""
    return name if _IDENTIFIER.fullmatch(name) else literal(name)


def literal(value: object) -> str:
    """A JSON value as a literal that TypeScript reads the same, inside and outside of types."""
    return json.dumps(value, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def comment(text: object, indent: str = "") -> str:
    """A documentation comment of a schema's description; empty without one."""
    if not isinstance(text, str) or not text.strip():
        return ""
    lines = [line.strip() for line in text.strip().replace("*/", "* /").splitlines()]
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    return "".join([f"{indent}/**\n", *(f"{indent} * {line}".rstrip() + "\n" for line in lines), f"{indent} */\n"])


class Definitions:
    """The named schemas of one file.

    Attributes:
        names: The TypeScript name of each definition.
    """

    def __init__(self, schemas: Mapping[str, Schema], taken: set[str]) -> None:
        self._schemas = schemas
        self.names: dict[str, str] = type_names(list(schemas), taken)

    def declarations(self) -> str:
        """An exported interface or type for each definition, by name."""
        parts: list[str] = []
        for key, name in sorted(self.names.items(), key=lambda item: item[1]):
            schema = self._schemas[key]
            body = self.type_of(schema)
            plain = _is_object(schema) and body.startswith("{\n") and "\n} & " not in body
            head = f"export interface {name} {body}\n" if plain else f"export type {name} = {body};\n"
            parts.append(comment(schema.get("description")) + head)
        return "\n".join(parts)

    def zod_declarations(self) -> str:
        """A zod schema for each definition. Lazy, so that they may refer to each other in any order."""
        lines = [
            f"const {name}Schema: z.ZodType<{name}, {name}> = z.lazy(() => {self.zod_of(self._schemas[key])});\n"
            for key, name in sorted(self.names.items(), key=lambda item: item[1])
        ]
        return "\n".join(lines)

    def may_be_null(self, schema: Schema | bool) -> bool:
        """Whether null fulfils the schema; not asked of what takes anything."""
        if isinstance(schema, bool):
            return False
        if "$ref" in schema:
            return self.may_be_null(self._resolved(schema))
        choices = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        return schema.get("type") == "null" or None in values or any(map(self.may_be_null, choices))

    def _resolved(self, schema: Schema) -> Schema:
        return self._schemas[str(schema["$ref"]).removeprefix(_REFERENCE)]

    # Types

    def type_of(self, schema: Schema | bool, indent: str = "") -> str:
        """The type of what fulfils the schema."""
        if isinstance(schema, bool):
            return "unknown" if schema else "never"
        parts = self._parts(schema, lambda part: self.type_of(part, indent), _union, _intersection)
        if parts is not None:
            return parts
        kind = schema.get("type")
        if kind == "array":
            return self._array_type(schema, indent)
        if _is_object(schema):
            return self._object_type(schema, indent)
        return _PRIMITIVES.get(str(kind), "unknown")

    def _array_type(self, schema: Schema, indent: str) -> str:
        items = schema.get("items")
        prefix = cast("list[Schema]", schema.get("prefixItems", []))
        least = int(schema.get("minItems", 0))
        if not prefix:
            item = "unknown" if items is None else self.type_of(items, indent)
            if least == schema.get("maxItems") and (items is not None or not least) and least <= 16:
                return f"[{', '.join([item] * least)}]"
            return f"{_grouped(item)}[]"
        elements = [
            _grouped(self.type_of(part, indent)) + ("?" if at >= least else "") for at, part in enumerate(prefix)
        ]
        if _is_open(schema):
            elements.append(f"...{_grouped('unknown' if items is None else self.type_of(items, indent))}[]")
        return f"[{', '.join(elements)}]"

    def _object_type(self, schema: Schema, indent: str) -> str:
        inner = indent + "  "
        properties = cast("Mapping[str, Schema]", schema.get("properties", {}))
        required = set(cast("list[str]", schema.get("required", [])))
        lines = [
            f"{comment(part.get('description'), inner)}{inner}{property_name(name)}"
            f"{'' if name in required else '?'}: {self.type_of(part, inner)};\n"
            for name, part in properties.items()
        ]
        extra = _extra(schema)
        if extra is None:
            return "{\n" + "".join(lines) + indent + "}" if lines else "Record<string, never>"
        rest = self.type_of(extra, indent)
        keys = self._keys(schema)
        # No Record<>: an alias may refer to itself in braces only.
        record = f"{{ [key{': string' if keys is None else f' in {_union(keys)}'}]{'?' if keys else ''}: {rest} }}"
        if not lines:
            return record
        if rest == "unknown":
            return "{\n" + "".join(lines) + f"{inner}[key: string]: unknown;\n" + indent + "}"
        return "{\n" + "".join(lines) + indent + "} & " + record

    # Zod

    def zod_of(self, schema: Schema | bool) -> str:
        """The expression of a zod schema that takes what the type of the schema describes."""
        if isinstance(schema, bool):
            return "z.unknown()" if schema else "z.never()"
        parts = self._parts(schema, self.zod_of, _zod_union, _zod_intersection, zod=True)
        if parts is not None:
            return parts
        kind = schema.get("type")
        if kind == "array":
            return self._zod_array(schema)
        if _is_object(schema):
            return self._zod_object(schema)
        return _ZOD_PRIMITIVES.get(str(kind), "z.unknown()")

    def _zod_array(self, schema: Schema) -> str:
        items = schema.get("items")
        prefix = cast("list[Schema]", schema.get("prefixItems", []))
        least = int(schema.get("minItems", 0))
        item = "z.unknown()" if items is None else self.zod_of(items)
        if not prefix:
            if least == schema.get("maxItems") and (items is not None or not least) and least <= 16:
                return f"z.tuple([{', '.join([item] * least)}])"
            return f"z.array({item})"
        elements = [self.zod_of(part) + (".exactOptional()" if at >= least else "") for at, part in enumerate(prefix)]
        rest = f", {item}" if _is_open(schema) else ""
        return f"z.tuple([{', '.join(elements)}]{rest})"

    def _zod_object(self, schema: Schema) -> str:
        properties = cast("Mapping[str, Schema]", schema.get("properties", {}))
        required = set(cast("list[str]", schema.get("required", [])))
        fields = [
            f"{property_name(name)}: {self.zod_of(part)}{'' if name in required else '.exactOptional()'}"
            for name, part in properties.items()
        ]
        extra = _extra(schema)
        if extra is None:
            return f"z.object({{ {', '.join(fields)} }})" if fields else "z.record(z.string(), z.never())"
        rest = self.zod_of(extra)
        keys = self._keys(schema)
        if fields:
            return f"z.object({{ {', '.join(fields)} }}).catchall({rest})"
        if keys is None:
            return f"z.record(z.string(), {rest})"
        return f"z.partialRecord(z.enum([{', '.join(keys)}]), {rest})"

    # Both

    def _parts(
        self,
        schema: Schema,
        convert: Callable[[Schema | bool], str],
        union: Callable[[Sequence[str]], str],
        intersection: Callable[[Sequence[str]], str],
        *,
        zod: bool = False,
    ) -> str | None:
        """What a reference, a constant, a choice or a combination becomes; None for everything else."""
        if "$ref" in schema:
            name = self.names[str(schema["$ref"]).removeprefix(_REFERENCE)]
            return f"{name}Schema" if zod else name
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            texts = list(dict.fromkeys(literal(value) for value in values))
            if not zod:
                return _union(texts) if texts else "never"
            if any(isinstance(value, (list, dict)) for value in values):
                return f"z.custom<{_union(texts)}>()"
            return f"z.literal([{', '.join(texts)}])"
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return union(list(dict.fromkeys(convert(part) for part in schema[keyword])))
        if "allOf" in schema:
            return intersection(list(dict.fromkeys(convert(part) for part in schema["allOf"])))
        kind = schema.get("type")
        if isinstance(kind, list):
            return union([convert({**schema, "type": one}) for one in cast("list[str]", kind)])
        return None

    def _keys(self, schema: Schema) -> list[str] | None:
        """The literals that an object's keys may be; None for any string."""
        names = cast("Schema", schema.get("propertyNames", {}))
        while "$ref" in names:
            names = self._resolved(names)
        values = [names["const"]] if "const" in names else names.get("enum")
        if not values:
            return None
        return [literal(value if isinstance(value, str) else json.dumps(value)) for value in values]


_PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_ZOD_PRIMITIVES = {kind: f"z.{name}()" for kind, name in _PRIMITIVES.items()}


def _is_object(schema: Schema) -> bool:
    return schema.get("type") == "object" or "properties" in schema


def _is_open(schema: Schema) -> bool:
    """Whether an array with given first elements may have more."""
    items = schema.get("items")
    return items is not False and len(schema["prefixItems"]) != schema.get("maxItems")


def _extra(schema: Schema) -> Schema | bool | None:
    """The schema of what an object holds beside its properties; None for nothing that one knows."""
    patterns = cast("Mapping[str, Schema]", schema.get("patternProperties", {}))
    if patterns:
        return {"anyOf": list(patterns.values())}
    extra = schema.get("additionalProperties", not schema.get("properties") and "title" not in schema)
    return None if extra is False else cast("Schema | bool", extra)


def _union(parts: Sequence[str]) -> str:
    if "unknown" in parts:
        return "unknown"
    return " | ".join(part for part in parts if part != "never") or "never"


def _intersection(parts: Sequence[str]) -> str:
    return " & ".join(map(_grouped, parts))


def _grouped(text: str) -> str:
    """The type in brackets where an operator after it would bind to a part of it only."""
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    while (inner := re.sub(r"\{[^{}]*\}|<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]", "", outside)) != outside:
        outside = inner
    return f"({text})" if "|" in outside or "&" in outside else text


def _zod_union(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"z.union([{', '.join(parts)}])"


def _zod_intersection(parts: Sequence[str]) -> str:
    whole, *rest = parts
    for part in rest:
        whole = f"z.intersection({whole}, {part})"
    return whole
