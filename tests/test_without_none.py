"""`topic(..., exclude_none=True)`: the same for readers with a token and for readers of event streams."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from inngest_realtime_core import Channel, ConfigurationError, PublishError, Realtime, topic
from inngest_realtime_core._api.payload import encode_payload
from inngest_realtime_devserver.server import DevServer
from talk import fresh, soon

Remark = TypeAliasType("Remark", Optional[str])  # noqa: UP045


class Step(BaseModel):
    name: str
    note: str | None = None


class Status(BaseModel):
    message: str
    step: Step | None = None
    steps: list[Step] = []
    cells: dict[str, int | None] = {}
    extra: Any = None


class Work(Channel, name="work:{run_id}"):
    run_id: str
    status = topic(Status, exclude_none=True)
    plain = topic(Status)


@pytest.fixture
def work() -> Work:
    return Work(run_id=fresh("run").replace(":", "-"))


DATA = Status(message="m", steps=[Step(name="a"), Step(name="b", note="n")], cells={"x": None})
SENT = {"message": "m", "steps": [{"name": "a"}, {"name": "b", "note": "n"}], "cells": {"x": None}}


async def test_publishing_leaves_none_out(realtime: Realtime, server: DevServer, work: Work) -> None:
    await realtime.publish(work.status, DATA)
    await realtime.publish((work, "status"), {"message": "m", "step": None})
    await realtime.publish(work.plain, Status(message="m"))
    first, second, plain = server.published(work.name)
    assert first.data == SENT
    assert second.data == {"message": "m", "steps": [], "cells": {}}
    assert plain.data["step"] is None


async def test_event_streams_are_as_what_is_published(realtime: Realtime, server: DevServer, work: Work) -> None:
    """Also for what another publisher has sent with nulls; and who subscribes in Python reads None."""
    async with realtime.subscribe(channel=work, topics=["status"]) as stream:
        events = stream.get_encoded_stream()
        await realtime.publish(work.status, DATA)
        await server.publish(work.name, "status", {"message": "other", "step": None, "extra": None})
        assert (await soon(anext(stream))).data == DATA
        assert (await soon(anext(stream))).data == Status(message="other")
        sent = [json.loads((await soon(anext(events)))[6:])["data"] for _ in range(2)]
        assert sent == [SENT, {"message": "other", "steps": [], "cells": {}}]


def test_the_synchronous_twins(work: Work) -> None:
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url)
        with realtime.subscribe_sync(channel=work, topics=["status"]) as stream:
            realtime.publish_sync(work.status, DATA)
            message = stream.receive(timeout=5)
            assert message is not None
            assert message.data == DATA
            assert message.to_dict()["data"] == SENT
        realtime.close_sync()


def test_what_json_cannot_say_is_still_refused() -> None:
    with pytest.raises(PublishError, match=r"(?i)nan"):
        encode_payload(Status(message="m", extra={"a": math.nan}), Work.status.adapter)


def test_nothing_of_pydantic_is_replaced() -> None:
    """Only what `dump_json()` and `dump_python()` are documented to take: so it outlasts a rebuilt adapter."""
    adapter = Work.status.adapter
    assert adapter is not None
    adapter.rebuild(force=True)
    assert json.loads(encode_payload(DATA, adapter)) == SENT
    assert b"null" in encode_payload(DATA, Work.plain.adapter)


@dataclass
class Point:
    x: int
    y: int | None


class Pair(TypedDict):
    left: int | None


class Required(BaseModel):
    step: str | None


class Other(BaseModel):
    step: str | None = "other"


class Made(BaseModel):
    step: str | None = Field(default_factory=lambda: "made")


class Anything(BaseModel):
    value: Any


class Aliased(BaseModel):
    remark: Remark


class Choice(BaseModel):
    choice: Literal["a", None]


class Nested(BaseModel):
    inner: list[dict[str, Required]] = []


@pytest.mark.parametrize(
    "type",
    [
        Point,
        Pair,
        Required,
        Other,
        Made,
        Anything,
        Aliased,
        Choice,
        Nested,
        list[Required],
        Annotated[Required, Field()],
        Required | int,
    ],
)
def test_a_field_that_would_not_be_read_as_none_is_refused(type: Any) -> None:
    class Bad(Channel, name="bad"):
        it = topic(type, exclude_none=True)

    with pytest.raises(ConfigurationError, match="exclude_none=True, and its field"):
        _ = Bad.it.adapter


class Loose(TypedDict):
    left: NotRequired[int | None]


class Loop(BaseModel):
    next: Loop | None = None
    values: list[int | None] = []


@pytest.mark.parametrize("type", [Loose, Loop, str, int | None, dict[str, None]])
def test_what_can_be_read_is_accepted(type: Any) -> None:
    class Good(Channel, name="good"):
        it = topic(type, exclude_none=True)

    adapter = Good.it.adapter
    assert adapter is not None
    assert Good.it.exclude_none


def test_it_needs_a_type() -> None:
    with pytest.raises(ConfigurationError, match="has no type"):
        topic(Any, exclude_none=True)
    with pytest.raises(ConfigurationError, match="expected True or False"):
        topic(str, exclude_none="no")  # type: ignore[call-overload]


def test_what_is_left_out_has_to_be_read_by_the_type() -> None:
    """The reason for the rule above."""
    with pytest.raises(ValidationError):
        Required.model_validate_json("{}")
