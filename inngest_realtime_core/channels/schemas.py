"""The JSON schemas of what is sent on topics, for those who write down in another language what a page receives."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from ..errors import ConfigurationError
from .topic import TopicDeclaration
from .without_none import may_be_none

_REFERENCE = "#/$defs/"


class _Sent(GenerateJsonSchema):
    """pydantic's, of what is sent: a field with a default is always there."""

    # Defaults are not looked at, and a choice that JSON has no form for is never sent.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012 - as pydantic declares it

    def field_is_required(self, field: Any, total: bool) -> bool:
        if field["type"] == "typed-dict-field":
            return bool(field.get("required", total))
        return not field.get("serialization_exclude") and "serialization_exclude_if" not in field

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        # pydantic takes a serializer that does not say what it returns for one that changes nothing; its own
        # around collections and paths do not.
        function: Any = schema.get("function")
        silent = function is not None and schema.get("return_schema") is None
        if silent and not str(getattr(function, "__module__", "")).startswith("pydantic._internal."):
            return {}
        return super().ser_schema(schema)

    def enum_schema(self, schema: Any) -> dict[str, Any]:
        return {"type": "integer"} if issubclass(schema["cls"], enum.Flag) else super().enum_schema(schema)


class _SentWithoutNone(_Sent):
    """The same where what is None is left out: such a field may be absent, and is never null."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._known: dict[str, Any] = {}

    def definitions_schema(self, schema: Any) -> dict[str, Any]:
        self._known.update({item["ref"]: item for item in schema["definitions"]})
        return super().definitions_schema(schema)

    def field_is_required(self, field: Any, total: bool) -> bool:
        return super().field_is_required(field, total) and not may_be_none(field["schema"], self._known)

    def model_field_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(self._without_none(schema["schema"]))

    typed_dict_field_schema = model_field_schema
    dataclass_field_schema = model_field_schema

    def _without_none(self, schema: Any) -> Any:
        if "serialization" in schema or not may_be_none(schema, self._known):
            return schema
        kind = schema["type"]
        if kind == "definition-ref":
            return self._without_none({**self._known[schema["schema_ref"]], "ref": None})
        if kind == "literal":
            return {**schema, "expected": [value for value in schema["expected"] if value is not None]}
        if kind in ("default", "nullable"):
            return self._without_none(schema["schema"])
        return {**schema, "schema": self._without_none(schema["schema"])} if "schema" in schema else schema


def sent_schemas(topics: Sequence[TopicDeclaration[Any]]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Returns the schema of each topic's data as it is sent, `{}` for any data, and the definitions that they share.

    References read `#/$defs/<name>`.

    Raises:
        ConfigurationError: A type has no JSON schema.
    """
    plain, definitions = _generate([topic for topic in topics if not topic.exclude_none], _Sent)
    sparse, more = _generate([topic for topic in topics if topic.exclude_none], _SentWithoutNone)
    # A type of both kinds of topic is two types.
    renamed = {
        name: f"{name}_without_none"
        for name, schema in more.items()
        if name in definitions and (schema != definitions[name] or _REFERENCE in json.dumps(schema))
    }
    for old, new in renamed.items():
        more[new] = more.pop(old)
    definitions.update({name: _referring(schema, renamed) for name, schema in more.items()})
    return [_referring(sparse.pop(0), renamed) if topic.exclude_none else plain.pop(0) for topic in topics], definitions


def _generate(
    topics: list[TopicDeclaration[Any]], generator: type[GenerateJsonSchema]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    adapters = {index: adapter for index, topic in enumerate(topics) if (adapter := topic.adapter) is not None}
    inputs: Any = [(index, "serialization", adapter) for index, adapter in adapters.items()]
    try:
        found, document = TypeAdapter.json_schemas(
            inputs, by_alias=True, schema_generator=generator, ref_template=_REFERENCE + "{model}"
        )
    except PydanticInvalidForJsonSchema as error:
        raise ConfigurationError(f"A topic's type has no JSON schema: {error.message}") from error
    schemas = cast("dict[Any, dict[str, Any]]", found)
    return [schemas.get((index, "serialization"), {}) for index in range(len(topics))], document.get("$defs", {})


def _referring(schema: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """The schema with references to definitions that were renamed."""
    new = {_REFERENCE + old: _REFERENCE + name for old, name in renamed.items()}

    def follow(part: object) -> Any:
        if isinstance(part, dict):
            entries = cast("Any", part).items()
            return {
                key: new.get(value, value) if key == "$ref" and isinstance(value, str) else follow(value)
                for key, value in entries
            }
        return [follow(item) for item in cast("Any", part)] if isinstance(part, list) else part

    return cast("dict[str, Any]", follow(schema))
