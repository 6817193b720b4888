"""`matches()` holds its promise: the data of a message that matches has the declared type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from inngest_realtime_core import Channel, Message, MessageValidationError, PublishError, Realtime, RealtimeError, topic
from inngest_realtime_core._hub.views import SubscriptionSpec, decode
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline, Status, fresh, soon


class Other(Channel, name="other:{x}"):
    x: str
    status = topic(Status)
    tokens = topic(int)


async def test_a_plain_name_with_topic_objects(server: DevServer, realtime: Realtime, pipeline: Pipeline) -> None:
    errors: list[Exception] = []
    topics = [Pipeline.status, pipeline.tokens]
    async with realtime.subscribe(channel=pipeline.name, topics=topics, on_error=errors.append) as subscription:
        await server.publish(pipeline.name, "status", {"message": 1})
        await server.publish(pipeline.name, "tokens", ["no text"])
        await realtime.publish(pipeline.status, Status(message="a"))
        message = await soon(anext(subscription))
        assert pipeline.status.matches(message)
        assert message.data == Status(message="a")
        assert [type(error) for error in errors] == [MessageValidationError] * 2


async def test_a_plain_name_with_plain_topics(realtime: Realtime, pipeline: Pipeline) -> None:
    async with (
        realtime.subscribe(channel=pipeline.name, topics=["status", "$run"]) as plain,
        realtime.subscribe(channel=pipeline.name, topics=["status"], validate=False) as unvalidated,
        realtime.subscribe(channel=pipeline, topics=["status"]) as typed,
    ):
        await realtime.publish(pipeline.status, Status(message="a"))
        message = await soon(anext(plain))
        assert message.data == {"message": "a", "step": None}
        assert not Pipeline.status.matches(message)
        assert not pipeline.status.matches(message)
        assert Pipeline.status.matches(await soon(anext(unvalidated)))
        message = await soon(anext(typed))
        assert pipeline.status.matches(message)
        assert message.data == Status(message="a")
        assert not Other.status.matches(message)
        await realtime.publish(pipeline.lifecycle, {"any": 1})
        assert Pipeline.lifecycle.matches(await soon(anext(plain)))


async def test_one_subscription_of_each_kind_shares_nothing_wrong(realtime: Realtime, pipeline: Pipeline) -> None:
    async with (
        realtime.subscribe(channel=pipeline.name, topics=["tokens"]) as plain,
        realtime.subscribe(channel=pipeline.name, topics=["tokens"]) as twin,
        realtime.subscribe(channel=pipeline.name, topics=[Pipeline.tokens]) as typed,
    ):
        await realtime.publish(pipeline.tokens, "a")
        matches = [pipeline.tokens.matches(await soon(anext(one))) for one in (plain, twin, typed)]
        assert matches == [False, False, True]


def seen(spec: SubscriptionSpec, kind: str, name: str, data: bytes) -> Any:
    envelope = Envelope(kind, msgspec.Raw(data), "pipeline:a", name)
    return decode(envelope, spec.schema_of(envelope), untyped=spec.validate)


@pytest.mark.parametrize("kind", ["data", "run"])
def test_run_messages_are_validated_like_others(kind: str) -> None:
    spec = SubscriptionSpec(Pipeline, ("status", "tokens"))
    message = seen(spec, kind, "status", b'{"message":"a"}')
    assert Pipeline.status.matches(message)
    assert message.data == Status(message="a")
    assert isinstance(seen(spec, kind, "status", b'{"state":"done"}'), MessageValidationError)
    narrow = SubscriptionSpec(Pipeline, ("tokens",))
    assert not Pipeline.status.matches(seen(narrow, kind, "status", b'{"state":"done"}'))
    lifecycle = seen(spec, kind, "$run", b'{"state":"done"}')
    assert isinstance(lifecycle, Message)
    assert Pipeline.lifecycle.matches(lifecycle)


class Reading(BaseModel):
    value: int


class Sensor(Channel, name="sensor"):
    reading = topic(Reading)


async def test_publishing_to_a_plain_name_with_a_topic_object(realtime: Realtime) -> None:
    for target in (("sensor", Sensor.reading), ("sensor", Sensor().reading), (Sensor(), Sensor.reading)):
        with pytest.raises(PublishError, match="does not fit the topic's type"):
            await realtime.publish(target, {"value": "no number"})  # type: ignore[arg-type]
        await realtime.publish(target, {"value": 1})  # type: ignore[arg-type]
    with pytest.raises(RealtimeError, match="of"):
        await realtime.publish((fresh(), Sensor().reading), Reading(value=1))
