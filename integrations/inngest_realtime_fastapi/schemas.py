"""What OpenAPI says about the endpoints: parameters, bodies, answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from inngest_realtime_core.endpoints import Grant
from inngest_realtime_core.endpoints.grants import camel_case

from .events import event_schema


class TokenBody(BaseModel):
    """What `useRealtime` takes: a client subscription token and where to use it."""

    key: str = Field(description="The token, valid for one minute.")
    apiBaseUrl: str = Field(description="The base URL of the Inngest API that the client connects to.")


class FullTokenBody(TokenBody):
    """A token with what it is for: the answer of a grant with `token="full"`."""

    channel: str = Field(description="The name of the channel.")
    topics: list[str] = Field(description="The names of its topics.")


class ErrorDetail(BaseModel):
    """Why there is neither token nor stream."""

    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="A sentence for people.")
    parameter: str | None = Field(default=None, description="The request parameter at fault, if it is one.")


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


_REASONS = {
    400: "A parameter is missing, unknown, repeated or contradictory, or the body is malformed",
    403: "Not allowed, or a topic that is not granted",
    413: "The body is too large",
    422: "A value does not fit its parameter",
    429: "One client asks for too much: ask again after Retry-After seconds",
    502: "Inngest refused, or gave an unexpected response",
    503: "Inngest is unreachable, or this server has no room: ask again after Retry-After seconds",
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": reason} for status, reason in _REASONS.items()
}


def token_responses(grant: Grant) -> dict[int | str, dict[str, Any]]:
    """The answers of a grant's token endpoint."""
    model = FullTokenBody if grant.token == "full" else TokenBody
    return {200: {"model": model, "description": "A token"}, **_ERRORS}


def stream_responses(grant: Grant) -> dict[int | str, dict[str, Any]]:
    """The answers of a grant's stream."""
    content = {"schema": {"type": "string"}, "itemSchema": event_schema(grant)}
    return {200: {"description": "An event stream", "content": {"text/event-stream": content}}, **_ERRORS}


def token_parameters(grant: Grant, *, required: bool = True) -> list[dict[str, Any]]:
    """The OpenAPI parameters of a grant's token operations, spelt in camelCase."""
    return [*_parameters(grant, required=required), _parameter("full", {"type": "boolean", "default": False})]


def stream_parameters(grant: Grant) -> list[dict[str, Any]]:
    """The OpenAPI parameters of a grant's stream, spelt in camelCase."""
    parameters = _parameters(grant)
    if grant.rewind is not None:
        count: dict[str, Any] = {"type": "integer", "minimum": 1}
        allowed = {"anyOf": [count, {"const": "all"}]} if grant.rewind == "all" else {**count, "maximum": grant.rewind}
        parameters.append(_parameter("rewind", allowed))
    if grant.render is not None:
        parameters.append(_parameter("format", {"const": "json"}))
    parameters.append(_parameter("lastEventId", {"type": "string"}))
    parameters.append({**_parameter("Last-Event-ID", {"type": "string"}), "in": "header"})
    return parameters


def body_schema(grant: Grant) -> dict[str, Any]:
    """The OpenAPI request body: an object of the same parameters."""
    properties = {**_channel_properties(grant), "topics": _topics_schema(grant)}
    return {"content": {"application/json": {"schema": {"type": "object", "properties": properties}}}}


def _parameters(grant: Grant, *, required: bool = True) -> list[dict[str, Any]]:
    parameters = [_parameter(name, schema, required=required) for name, schema in _channel_properties(grant).items()]
    parameters.append({**_parameter("topics", _topics_schema(grant)), "style": "form", "explode": True})
    parameters.extend(_parameter(name, {"type": "string"}) for name in sorted(grant.extra_parameters))
    return parameters


def _parameter(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _topics_schema(grant: Grant) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "enum": list(grant.topics)}, "title": "Topics"}


def _channel_properties(grant: Grant) -> dict[str, dict[str, Any]]:
    if isinstance(grant.channel, str):
        return {}
    parameters = grant.channel.parameters().values()
    return {camel_case(parameter.name): _schema(parameter.annotation) for parameter in parameters}


def _schema(annotation: Any) -> dict[str, Any]:
    schema = TypeAdapter[Any](annotation).json_schema()
    # References would point into a document of their own; such a value is still written as a string.
    return {"type": "string"} if "$defs" in schema else schema
