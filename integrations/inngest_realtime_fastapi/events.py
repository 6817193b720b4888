"""What OpenAPI says of an event stream: the data of its events, in the form that FastAPI gives to its own streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from inngest_realtime_core import ConfigurationError, GapReason
from inngest_realtime_core.channels.schemas import sent_schemas
from inngest_realtime_core.endpoints import Grant

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}


def event_schema(grant: Grant) -> Schema:
    """The schema of one event of a grant's stream, without references: FastAPI names the components of a document."""
    messages = [_object("data", {"topic": {"const": name}, "data": _data_schema(grant, name)}) for name in grant.topics]
    data: Schema = {"type": "string", "contentMediaType": "application/json"}
    data["contentSchema"] = {"anyOf": [*messages, *_OTHERS]}
    if grant.render is not None:
        data = {"type": "string", "description": "HTML, of messages; as JSON with `?format=json`"}
    return {
        "type": "object",
        "properties": {
            "data": data,
            "event": {"type": "string"},
            "id": {"type": "string"},
            "retry": {"type": "integer", "minimum": 0},
        },
        "required": ["data"],
    }


def _object(kind: str | tuple[str, ...], properties: Mapping[str, Schema]) -> Schema:
    """The schema of an event's data: what all of a kind have, and what is their own."""
    kinds = {"const": kind} if isinstance(kind, str) else {"enum": list(kind)}
    known: Schema = {"kind": kinds, **({"channel": _TEXT} if properties else {}), **properties}
    required = [name for name, schema in known.items() if not _may_be_null(schema)]
    if kind == "data":
        known |= {"createdAt": {"type": "string", "format": "date-time"}, "envId": _TEXT}
        required.append("createdAt")
    if "data" in known and kind != "gap":
        known |= {"runId": _TEXT, "fnId": _TEXT}
    return {"type": "object", "properties": known, "required": required}


def _data_schema(grant: Grant, name: str) -> Schema:
    if isinstance(grant.channel, str):
        return {}
    try:
        (schema,), definitions = sent_schemas([grant.channel.topics()[name]])
    except ConfigurationError:
        return {}  # no JSON schema describes the type, or it is not complete yet
    return cast("Schema", _resolved(schema, definitions, ()))


def _resolved(part: object, definitions: Mapping[str, Schema], within: tuple[str, ...]) -> Any:
    """The schema with its definitions in their places; one that holds itself is anything there."""
    if isinstance(part, list):
        return [_resolved(item, definitions, within) for item in cast("Any", part)]
    if not isinstance(part, dict):
        return part
    entries = cast("Any", part)
    name = str(entries.get("$ref", "")).removeprefix("#/$defs/")
    if name in within:
        return {"title": name}
    rest = {key: _resolved(value, definitions, within) for key, value in entries.items() if key != "discriminator"}
    if name not in definitions:
        return rest
    del rest["$ref"]
    return {**_resolved(definitions[name], definitions, (*within, name)), **rest}


def _may_be_null(schema: Schema) -> bool:
    """Whether null fulfils the schema, which event streams leave out."""
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return not schema or schema.get("type") == "null" or None in values or any(map(_may_be_null, choices))


_GAP: Schema = {
    "type": "object",
    "properties": {"reason": {"enum": list(get_args(GapReason))}, "missed": {"type": ["integer", "null"]}},
    "required": ["reason", "missed"],
}
_OTHERS: list[Schema] = [
    _object("ready", {"topics": {"type": "array", "items": _TEXT}}),
    _object(("datastream-start", "chunk", "datastream-end"), {"topic": _TEXT, "data": _TEXT, "streamId": _TEXT}),
    _object("gap", {"topic": _TEXT, "data": _GAP}),
    _object("closing", {}),
    {
        "type": "object",
        "properties": {"kind": {"const": "end"}, "reason": {"enum": ["forbidden", "failed", "closed"]}},
        "required": ["kind", "reason"],
    },
]
