"""What FastAPI's OpenAPI says of the events of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_core import core_schema

from conformance.serving import serving
from inngest_realtime_core import Channel, Grant, Message, Realtime, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router
from talk import fresh, soon
from test_messages import parse_sse

OTHERS = ["ready", "datastream-start", "gap", "closing", "end"]


class Status(BaseModel):
    message: str
    step: str | None = None


class Tree(BaseModel):
    status: Status
    children: list[Tree] = []


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status, exclude_none=True)
    tokens = topic(str)
    tree = topic(Tree)
    anything = topic(Any)


PIPELINE = Grant(Pipeline, authorize=allow_anyone)
NEWS = Grant("news", ["headline"], authorize=allow_anyone)


def event_of(grant: Grant) -> dict[str, Any]:
    """The schema of an event, in the whole document of an application."""
    app = FastAPI()
    app.include_router(realtime_router(Realtime(), [grant]))
    content = app.openapi()["paths"][f"/{grant.name}/stream"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/event-stream"]
    event: dict[str, Any] = content["text/event-stream"]["itemSchema"]
    assert "$ref" not in json.dumps(event)
    return event


def data_of(grant: Grant) -> list[dict[str, Any]]:
    """The schemas of the data of the events."""
    data = event_of(grant)["properties"]["data"]
    assert data["contentMediaType"] == "application/json"
    schemas: list[dict[str, Any]] = data["contentSchema"]["anyOf"]
    return schemas


def kind_of(schema: dict[str, Any]) -> str:
    kind = schema["properties"]["kind"]
    return str(kind["const"] if "const" in kind else kind["enum"][0])


def test_each_topic_has_a_message_with_the_declared_data() -> None:
    status, tokens, tree, anything, *others = data_of(PIPELINE)
    assert list(map(kind_of, others)) == OTHERS
    assert status["properties"]["topic"] == {"const": "status"}
    data = status["properties"]["data"]
    assert data["required"] == ["message"]
    assert data["properties"]["step"]["type"] == "string", "None is left out"
    assert status["required"] == ["kind", "channel", "topic", "data", "createdAt"]
    assert tokens["properties"]["data"] == {"type": "string"}
    nodes = tree["properties"]["data"]["properties"]
    assert nodes["status"]["properties"]["step"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert nodes["children"]["items"] == {"title": "Tree"}
    assert anything["properties"]["data"] == {}
    assert "data" not in anything["required"], "null is left out"


def test_a_plain_channel_has_messages_of_any_data() -> None:
    message, *others = data_of(NEWS)
    assert message["properties"]["topic"] == {"const": "headline"}
    assert list(map(kind_of, others)) == OTHERS


class Unwritable:
    """A type without a JSON schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(lambda value: value)


class Odd(Channel, name="odd"):
    it = topic(Unwritable)


def test_data_without_a_schema_is_anything_and_fragments_are_text() -> None:
    assert data_of(Grant(Odd, authorize=allow_anyone))[0]["properties"]["data"] == {}
    event = event_of(Grant(Odd, authorize=allow_anyone, render=lambda message: "<p>"))
    assert event["properties"]["data"]["type"] == "string"
    assert "contentSchema" not in event["properties"]["data"]


async def test_a_stream_has_the_events_that_it_says(realtime: Realtime) -> None:
    schemas = data_of(PIPELINE)
    channel = Pipeline(run_id=fresh("run").replace(":", "-"))
    kinds: list[str] = []
    async with realtime.subscribe(channel=channel) as stream:
        events = stream.get_event_stream()
        await realtime.publish(channel.status, Status(message="m"))
        await realtime.publish(channel.anything, None)
        await realtime.publish_stream(channel.tokens, ["a"])
        while "datastream-end" not in kinds:
            for line in (await soon(anext(events))).decode().splitlines():
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                    kinds.append(event["kind"])
                    assert any(fits(event, schema) for schema in schemas), event
        await events.aclose()
    assert {"ready", "data", "chunk"} < set(kinds)


def fits(event: dict[str, Any], schema: dict[str, Any]) -> bool:
    known = schema["properties"]
    constants = all(
        event.get(name) in (part["enum"] if "enum" in part else [part["const"]])
        for name, part in known.items()
        if "const" in part or "enum" in part
    )
    return constants and set(schema["required"]) <= set(event) <= set(known)


def parameters_of(grant: Grant, endpoint: str) -> dict[str, Any]:
    app = FastAPI()
    app.include_router(realtime_router(Realtime(), [grant]))
    operation = app.openapi()["paths"][f"/{grant.name}/{endpoint}"]["get"]
    return {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}


def test_what_a_grant_allows_is_a_parameter() -> None:
    plain = parameters_of(NEWS, "stream")
    assert not {"rewind", "format"}.intersection(plain)
    all_of_it = parameters_of(Grant("news", ["headline"], authorize=allow_anyone, rewind="all", render=str), "stream")
    assert all_of_it["rewind"] == {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}
    assert all_of_it["format"] == {"const": "json"}
    three = parameters_of(Grant("news", ["headline"], authorize=allow_anyone, rewind=3), "stream")
    assert three["rewind"] == {"type": "integer", "minimum": 1, "maximum": 3}


def test_a_full_token_is_known() -> None:
    assert parameters_of(NEWS, "token")["full"] == {"type": "boolean", "default": False}
    app = FastAPI()
    app.include_router(realtime_router(Realtime(), [Grant("news", ["headline"], authorize=allow_anyone, token="full")]))
    schemas = app.openapi()["components"]["schemas"]
    assert set(schemas["FullTokenBody"]["required"]) == {"key", "apiBaseUrl", "channel", "topics"}


@pytest.mark.parametrize("annotation", [None, AsyncIterator[Message[Any]], AsyncIterator[Message[Status]]])
async def test_messages_are_yielded_as_they_are(realtime: Realtime, annotation: object) -> None:
    sse = pytest.importorskip("fastapi.sse", reason="FastAPI before 0.135 has no events of its own")
    channel = Pipeline(run_id=fresh().partition(":")[2])

    async def events() -> Any:
        async with realtime.subscribe(channel=channel, topics=["status"]) as subscription:
            await realtime.publish(channel.status, Status(message="Half"))
            message = await subscription.receive(timeout=5)
            assert message is not None
            yield message
            yield sse.ServerSentEvent(data=message, id="7")

    events.__annotations__["return"] = annotation
    app = FastAPI()
    app.get("/events", response_class=sse.EventSourceResponse)(events)
    app.openapi()
    with serving(app) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            bare, with_id = parse_sse((await http.get("/events")).content)
    for event in (bare, with_id):
        data = json.loads(event["data"])
        assert (data["topic"], data["data"]["message"], data["kind"]) == ("status", "Half", "data")
    assert with_id["id"] == "7"
