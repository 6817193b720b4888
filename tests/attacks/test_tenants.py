"""What one reader, or one tenant, can do to another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

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


async def test_what_one_subscriber_does_to_a_message(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with (
        realtime.subscribe(channel=channel, topics=["t"]) as one,
        realtime.subscribe(channel=channel, topics=["t"]) as other,
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


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


_KINDS: dict[str, Any] = {
    "text": Annotated[str, AfterValidator(_even)],
    "length": Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")],
    "literal": Annotated[Literal["red", "blue"], AfterValidator(_even)],
    "number": Annotated[int, Field(ge=10, lt=5_000), AfterValidator(_even)],
    "enum": Annotated[Colour, AfterValidator(_even)],
    "numbers": Annotated[Literal[1, 22], AfterValidator(_even)],
}


def _channel(kind: str) -> Any:
    return type("Made", (Channel,), {"__annotations__": {"value": _KINDS[kind]}, "t": topic(str)}, name="made:{value}")


_CHANNELS: dict[str, Any] = {kind: _channel(kind) for kind in _KINDS}


@given(
    st.sampled_from(sorted(_KINDS)),
    st.one_of(st.sampled_from(["red", "blue", "1", "22", "10", "4999", "5000", "RED"]), st.text(max_size=5)),
)
def test_text_from_the_web_goes_through_the_same_checks(kind: str, text: str) -> None:
    channel = _CHANNELS[kind]

    def made(make: Callable[[], Any]) -> str | None:
        try:
            return str(make().name)
        except ChannelError:
            return None

    from_web = made(lambda: channel.from_strings({"value": text}))
    values: list[Any] = [text]
    if kind in ("number", "numbers") and text.isascii() and text.isdecimal():
        values = [int(text)]
    if kind == "enum":
        values = [colour for colour in Colour if colour.value == text]
    from_python = {made(lambda value=value: channel(value=value)) for value in values}
    # Whatever the web may have, Python may have, by the same name.
    assert from_web is None or from_web in from_python


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
