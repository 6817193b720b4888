"""What one reader, or one tenant, can do to another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import date, datetime
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    WrapValidator,
)

from inngest_realtime_core import Channel, ChannelError, ConfigurationError, Grant, Realtime, allow_anyone, topic
from inngest_realtime_core.endpoints import Endpoints
from inngest_realtime_devserver.server import DevServer
from talk import fresh

validated = 0


def _count(value: int) -> int:
    global validated
    validated += 1
    return value


class Counted(BaseModel):
    number: Annotated[int, AfterValidator(_count)]


class Board(Channel, name="counted:{name_of}"):
    name_of: str
    a = topic(Counted)
    b = topic(Counted)
    c = topic(Counted)
    d = topic(Counted)


async def test_the_order_of_topics_costs_nothing(server: DevServer, realtime: Realtime) -> None:
    """Streams of the same topics in other orders, or of some of them, share what was decoded."""
    global validated
    board = Board(name_of=fresh().replace(":", "-"))
    async with AsyncExitStack() as stack:
        streams: list[Any] = []
        for size in (2, 3, 4):
            for topics in itertools.permutations("abcd", size):
                if "a" in topics:
                    subscription = await stack.enter_async_context(realtime.subscribe(channel=board, topics=topics))
                    streams.append(subscription.get_event_stream(heartbeat=60))
        assert len(streams) == 6 + 18 + 24
        await asyncio.gather(*(anext(stream) for stream in streams))
        validated = 0
        await server.publish(board.name, "a", {"number": 7})

        async def read(stream: Any) -> None:
            while b'"number":7' not in await anext(stream):
                pass

        await asyncio.gather(*(read(stream) for stream in streams))
        assert validated == 1
        for stream in streams:
            await stream.aclose()


@pytest.mark.parametrize("topics", [["t"], ["t", "u"]], ids=["alike", "others"])
async def test_what_one_subscriber_does_to_a_message(
    server: DevServer, realtime: Realtime, channel: str, topics: list[str]
) -> None:
    async with (
        realtime.subscribe(channel=channel, topics=["t"]) as one,
        realtime.subscribe(channel=channel, topics=topics) as other,
    ):
        events = other.get_event_stream(heartbeat=60)
        second = one.get_json_stream()
        await server.publish(channel, "t", {"secret": ["a"]})
        message = await one.receive(timeout=5)
        assert message is not None
        message.data["secret"].append("changed")
        message.data["injected"] = True
        assert (await anext(second)).data == {"secret": ["a"]}
        theirs = await other.receive(timeout=5)
        assert theirs is not None
        assert theirs.data == {"secret": ["a"]}
        text = b""
        while b"secret" not in text:
            text += await anext(events)
        assert b"changed" not in text
        assert b"injected" not in text
        await events.aclose()
        await second.aclose()


class Thread(Channel, name="chat:{org}:{thread}"):
    org: str
    thread: str
    t = topic(str)


class Wall(Channel, name="chat:{org}:board"):
    org: str
    t = topic(str)


class Numbered(Channel, name="chat:{org}:{number}"):
    org: str
    number: int
    t = topic(str)


class Chosen(Channel, name="chat:{org}:{kind}"):
    org: str
    kind: Literal["news", "jobs"]
    t = topic(str)


class Identified(Channel, name="chat:{org}:{id}"):
    org: str
    id: UUID
    t = topic(str)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (Thread, Wall, True),
        (Thread, Numbered, True),
        (Thread, Chosen, True),
        (Thread, Identified, True),
        (Wall, Numbered, False),
        (Wall, Chosen, False),
        (Wall, Identified, False),
        (Numbered, Identified, False),
        (Chosen, Numbered, False),
        (Thread, Thread, False),
    ],
)
def test_grants_that_can_mean_one_channel(one: type[Channel], other: type[Channel], overlap: bool) -> None:
    def make(**options: Any) -> Endpoints:
        return Endpoints(
            Realtime(),
            [
                Grant(one, authorize=allow_anyone, name="one", **options),
                Grant(other, authorize=allow_anyone, name="other"),
            ],
        )

    if overlap:
        with pytest.raises(ConfigurationError, match="overlap"):
            make()
        make(may_overlap=True)
    else:
        make()


def _even(value: Any) -> Any:
    if len(str(getattr(value, "value", value))) % 2:
        raise ValueError("odd")
    return value


def _not_ten(value: Any) -> Any:
    if value == 10 or value == UUID(int=10) or value == date(2020, 1, 10):
        raise ValueError("ten")
    return value


def _wrapped(value: Any, handler: Any) -> Any:
    return _even(handler(_not_ten(value)))


def _stripped(value: Any) -> Any:
    return value.strip("x") if isinstance(value, str) else value


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Shade(str, Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    ONE = 1
    TEN = 10


Name = NewType("Name", str)
Code = NewType("Code", int)
Short = Annotated[str, StringConstraints(max_length=4, strip_whitespace=True, to_lower=True)]

_KINDS: dict[str, Any] = {
    "text": Annotated[str, AfterValidator(_even)],
    "length": Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")],
    "literal": Annotated[Literal["red", "blue"], AfterValidator(_even)],
    "number": Annotated[int, Field(ge=10, lt=5_000), AfterValidator(_even)],
    "enum": Annotated[Colour, AfterValidator(_even)],
    "numbers": Annotated[Literal[1, 22], AfterValidator(_even)],
    "short": Annotated[Short, AfterValidator(_even)],
    "new name": Annotated[Name, AfterValidator(_even)],
    "new number": Annotated[Code, BeforeValidator(_not_ten)],
    "text enum": Annotated[Shade, WrapValidator(_wrapped)],
    "number enum": Annotated[Size, BeforeValidator(_not_ten)],
    "literal inside": Annotated[Annotated[Literal["red", "blue"], AfterValidator(_even)], BeforeValidator(_not_ten)],
    "literal or number": Annotated[Literal["red"], AfterValidator(_even)] | Annotated[int, BeforeValidator(_not_ten)],
    "enum or text": Annotated[Colour, AfterValidator(_even)] | Annotated[str, AfterValidator(_even)],
    "optional": Annotated[int, AfterValidator(_not_ten)] | None,
    "before": Annotated[int, BeforeValidator(_not_ten)],
    "before, read": Annotated[int, BeforeValidator(_not_ten), BeforeValidator(_stripped)],
    "wrap": Annotated[int, WrapValidator(_wrapped)],
    "plain": Annotated[int, PlainValidator(_not_ten)],
    "plain literal": Annotated[Literal["red", "blue"], PlainValidator(_even)],
    "outside": Annotated[int | UUID, BeforeValidator(_not_ten)],
    "id": Annotated[UUID, BeforeValidator(_not_ten)],
    "day": Annotated[date, WrapValidator(lambda value, handler: handler(_not_ten(value)))],
    "text or number": int | str,
    "constrained": Annotated[int, Field(multiple_of=5, gt=0)],
    "strict": Annotated[int, Field(strict=True)],
    "grown": Annotated[int, Field(lt=100), AfterValidator(lambda value: value + 100)],
}


def _channel(kind: str) -> Any:
    return type("Made", (Channel,), {"__annotations__": {"value": _KINDS[kind]}, "t": topic(str)}, name="made:{value}")


_CHANNELS: dict[str, Any] = {kind: _channel(kind) for kind in _KINDS}

_TEXTS = st.one_of(
    st.sampled_from(["red", "blue", "RED", " red", "1", "22", "10", "010", "+10", "1_0", "x10", "x5", "4999", "5000"]),
    st.sampled_from([str(UUID(int=10)), UUID(int=10).hex, UUID(int=10).urn, str(UUID(int=11))]),
    st.sampled_from(["2020-01-10", "2020-01-11", "None", "True", ""]),
    st.integers().map(str),
    st.text(max_size=5),
)


def _values(text: str) -> Iterator[Any]:
    """What somebody could give in Python who means this text."""
    yield text
    readers = [TypeAdapter(kind).validate_strings for kind in (int, UUID, date)]
    for read in (*readers, lambda text: int(text.strip("x"))):
        with contextlib.suppress(ValueError):
            yield read(text)
    for kind in (Colour, Shade, Size):
        yield from (choice for choice in kind if str(choice.value) == text)


@settings(max_examples=600)
@given(st.sampled_from(sorted(_KINDS)), _TEXTS)
@example("before", "10")
@example("before, read", "x10")
@example("wrap", "010")
@example("id", UUID(int=10).urn)
@example("number enum", "10")
def test_text_from_the_web_goes_through_the_same_checks(kind: str, text: str) -> None:
    channel = _CHANNELS[kind]

    def made(make: Callable[[], Any]) -> str | None:
        try:
            return str(make().name)
        except ChannelError:
            return None

    from_web = made(lambda: channel.from_strings({"value": text}))
    from_python = {made(lambda value=value: channel(value=value)) for value in _values(text)}
    # Whatever the web may have, Python may have, by the same name.
    assert from_web is None or from_web in from_python, (from_web, from_python)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Annotated[int, AfterValidator(lambda value: "board")], "1"),
        (Annotated[int, PlainValidator(lambda value: value)], "board"),
        (Annotated[Literal["red"], AfterValidator(lambda value: "board")], "red"),
        (Annotated[Colour, AfterValidator(lambda value: "board")], "red"),
        (Annotated[UUID, WrapValidator(lambda value, handler: "board")], "1"),
        (Annotated[date, PlainValidator(lambda value: datetime(2020, 1, 1))], "1"),
        (Annotated[int, AfterValidator(bool)], "1"),
        (Annotated[str, AfterValidator(lambda value: UUID(int=1))], "a"),
    ],
)
def test_a_validator_does_not_make_another_type(annotation: Any, text: str) -> None:
    """Which names two channels may share is told from what they declare."""
    made: Any = type("Made", (Channel,), {"__annotations__": {"value": annotation}, "t": topic(str)}, name="m:{value}")
    with pytest.raises(ChannelError, match=r"value is declared as .* Declare what they return"):
        made.from_strings({"value": text})


async def test_a_run_message_is_for_those_who_asked(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with (
        realtime.subscribe(channel=channel, topics=["$run"]) as granted,
        realtime.subscribe(channel=channel, topics=["t"]) as other,
    ):
        await server.publish(channel, "$run", {"private": True}, kind="run")
        await server.publish(channel, "t", "mine")
        message = await granted.receive(timeout=5)
        assert message is not None
        assert message.kind == "run"
        theirs = await other.receive(timeout=5)
        assert theirs is not None
        assert theirs.data == "mine"
