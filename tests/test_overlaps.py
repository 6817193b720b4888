"""Grants of different channels that can have the same name."""

from __future__ import annotations

import itertools
import re
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import Field

from inngest_realtime_core import Channel, ChannelError, ConfigurationError, Grant, Realtime, allow_anyone, topic
from inngest_realtime_core.channels.channel import template_of
from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.overlaps import check_overlaps, common_name

REALTIME = Realtime(api_base_url="http://127.0.0.1:9")


class Section(Enum):
    BOARD = "board"
    WALL = "wall"


def channel(name: str, separators: str | None = None, **types: Any) -> type[Channel]:
    body = {"__annotations__": types, "t": topic(Any)}
    declared: type[Channel] = type("Declared", (Channel,), body, name=name, separators=separators)  # type: ignore[call-overload]
    return declared


THREAD = channel("chat:{org}:{thread}", org=str, thread=str)

OVERLAPPING = [
    (THREAD, channel("chat:{org}:board", org=str), "chat:0:board"),
    (THREAD, "chat:a:b", "chat:a:b"),
    (channel("chat:{org}:{n}", org=str, n=int), channel("chat:{org}:7", org=str), "chat:0:7"),
    (channel("a:{x}", x=Literal["one", "two"]), "a:two", "a:two"),
    (channel("a:{x}", x=Section), channel("a:{y}", y=Literal["wall"]), "a:wall"),
    (channel("a:{x}", x=str), channel("a:{y}", y=UUID), None),
    (channel("a:{x}", x=int | UUID), channel("a:{y}", y=int), "a:0"),
    (channel("a:{x}", x=date), channel("a:{y}", y=str), None),
    (channel("a:{x}", x=Annotated[str, Field(max_length=3)]), channel("a:{x}", x=str), "a:0"),
    (channel("up-{x}", separators="", x=str), channel("up-{x}-{y}", x=str, y=str), "up-0-0"),
    (channel("a_{x}", x=str), channel("{x}_b", x=str), "a_b"),
    (channel("{x}", x=str), channel("{y}:z", y=str), None),
]

APART = [
    (THREAD, channel("chat:{org}", org=str)),
    (THREAD, channel("chats:{org}:{thread}", org=str, thread=str)),
    (THREAD, "chat:a"),
    (channel("chat:{org}:{n}", org=str, n=int), channel("chat:{org}:board", org=str)),
    (channel("chat:{org}:{n}", org=str, n=int), channel("chat:{org}:007", org=str)),
    (channel("a:{x}", x=Section), channel("a:{x}", x=Literal["roof"])),
    (channel("a:{x}", x=Annotated[Section, Field(description="x")]), channel("a:board2")),
    (channel("a:{x}", x=UUID), channel("a:{x}", x=int)),
    (channel("a:{x}", x=UUID), channel("a:{x}", x=date)),
    (channel("a:{x}", x=str), channel("a:{x}:b", x=str)),
    ("a", "b"),
]


def grants(*channels: Any, **options: Any) -> list[Grant]:
    return [
        Grant(cls, ["t"], authorize=allow_anyone, name=f"grant-{index}", **options)
        for index, cls in enumerate(channels)
    ]


@pytest.mark.parametrize(("one", "other", "name"), OVERLAPPING)
def test_channels_that_can_have_one_name(one: Any, other: Any, name: str | None) -> None:
    for first, second in ((one, other), (other, one)):
        found = common_name(first, second)
        assert found is not None
        assert name in (None, found)
        with pytest.raises(ConfigurationError, match=r"overlap: both can mean .* may_overlap=True"):
            Endpoints(REALTIME, grants(first, second))
    check_overlaps(grants(one, other, may_overlap=True))


@pytest.mark.parametrize(("one", "other"), APART)
def test_channels_whose_names_differ(one: Any, other: Any) -> None:
    assert common_name(one, other) is common_name(other, one) is None
    check_overlaps(grants(one, other))


def test_one_class_under_two_names_is_right() -> None:
    check_overlaps(grants(THREAD, THREAD))
    check_overlaps(grants("news", "news"))


PARTS = st.sampled_from(["a", "b", ":", "-", "_", "a:", "__"])
TYPES = st.sampled_from([str, int, Section, Literal["a", "b:a", "1"], int | Section])


@st.composite
def declared(draw: st.DrawFn) -> type[Channel] | None:
    name, types = draw(PARTS), {}
    for index in range(draw(st.integers(0, 2))):
        types[f"p{index}"] = draw(TYPES)
        name += f"{{p{index}}}" + draw(PARTS)
    return channel(name, **types)


DASHED = [str(UUID(int=0xAB)), "2020-02-29"]  # values that may hold what separates others
PIECES = st.lists(
    st.sampled_from([*"ab:-_01", "-7", "10", "board", "é"]) | st.sampled_from(DASHED), min_size=1, max_size=5
)


def types_of(text: str) -> list[Any]:
    """The types of which a value may be written so."""
    if text in DASHED:
        kind = UUID if len(text) == 36 else date
        return [Any, kind, Section | kind, Annotated[kind, Field(description="x")] | None, Literal["else", text]]
    numbers = [int, Section | int] if re.fullmatch("0|-?[1-9][01-9]*", text) else []
    return [str, Any, Literal["else", text], Enum("Made", {"A": "else", "B": text}), *numbers]


@st.composite
def declared_for(draw: st.DrawFn, pieces: list[str]) -> Any:
    """A channel, or a plain name, that can have the name made of these pieces: each is literal, or of a value."""
    template, types, separators = "", {}, ""
    for is_value, group in itertools.groupby(pieces, key=lambda piece: draw(st.booleans())):
        text = "".join(group)
        if not is_value:
            template += text
            separators += text
            continue
        parameter = f"p{len(types)}"
        types[parameter] = draw(st.sampled_from(types_of(text)))
        template += f"{{{parameter}}}"
    if not types:
        return template
    return channel(template, draw(st.none() | st.text(sorted(set(separators)), max_size=3)), **types)


@settings(max_examples=300)
@given(st.data())
def test_no_name_of_two_channels_goes_unnoticed(data: st.DataObject) -> None:
    """Two channels are made from one name, so they can share at least that one."""
    pieces = data.draw(PIECES)
    name, both = "".join(pieces), []
    for _ in range(2):
        try:
            made = data.draw(declared_for(pieces))
            assert isinstance(made, str) or made.from_name(name).name == name
        except (ChannelError, ConfigurationError):  # a value that its own template does not take
            reject()
        both.append(made)
    one, other = both
    assert common_name(one, other) is not None
    assert common_name(other, one) is not None


def inner_literals(cls: Any) -> str:
    return "".join(template_of(cls).literals[1:-1])


@given(one=declared(), other=declared())
def test_the_name_that_is_found_is_one_of_both(one: Any, other: Any) -> None:
    name = common_name(one, other)
    # Where letters separate the values, more values are refused than the search knows: a value may not run into them.
    separated = all(not (char.isalnum() or char == "_") for cls in (one, other) for char in inner_literals(cls))
    if name is not None and separated:
        assert one.from_name(name).name == other.from_name(name).name == name


@pytest.mark.parametrize(
    "options",
    [
        {"rewind": 0},
        {"rewind": True},
        {"rewind": "some"},
        {"rewind": 1.5},
        {"rewind_default": 5},
        {"rewind": 3, "rewind_default": 5},
        {"rewind": 3, "rewind_default": "all"},
        {"render": "<p>"},
        {"token": "half"},
        {"token": True},
        {"may_overlap": "yes"},
        {"extra_parameters": "access_token"},
        {"extra_parameters": [1]},
        {"extra_parameters": 7},
        {"heartbeat": "10"},
        {"heartbeat": True},
        {"reauthorize_every": float("nan")},
        {"reauthorize_every": float("inf")},
        {"name": 7},
        {"topics": 7},
        {"topics": b"t"},
    ],
    ids=str,
)
def test_options_of_a_grant_that_make_no_sense(options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"topics": ["t"], **options}
    with pytest.raises((ConfigurationError, ValueError)) as caught:
        Grant(THREAD, authorize=allow_anyone, **arguments)
    assert next(iter(options)) in str(caught.value) or "topic" in str(caught.value)


def test_options_of_a_grant() -> None:
    grant = Grant(THREAD, authorize=allow_anyone, rewind="all", rewind_default=20, render=repr, token="full")
    assert (grant.rewind, grant.rewind_default, grant.render, grant.token) == ("all", 20, repr, "full")
    assert (grant.may_overlap, Grant(THREAD, authorize=allow_anyone).rewind) == (False, None)


@pytest.mark.parametrize("name", ["topics", "rewind", "full", "format", "lastEventId"])
def test_reserved_parameters(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Grant(channel(f"x:{{{name}}}", **{name: str}), authorize=allow_anyone)
