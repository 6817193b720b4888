"""Channels from their finished names, templates that say what separates, and text against values."""

from __future__ import annotations

import inspect
import itertools
import time
from datetime import date
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType, Union
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, WrapValidator
from typing_extensions import TypeAliasType

from inngest_realtime_core import Channel, ChannelError, ConfigurationError, Message, TopicError, topic
from talk import Pipeline

A_UUID = UUID("e29b41d4-a716-4466-5544-000000000000")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Cell(Channel, name="cell-{sheet}-{row}"):
    sheet: UUID
    row: int


class Day(Channel, name="{day}-{user}"):
    day: date
    user: UUID | str


class Upload(Channel, name="upload-{file}.done", separators=""):
    file: str


class Folder(Channel, name="doc:{owner}/v1-{path}", separators="/"):
    owner: str
    path: str


class News(Channel, name="news"):
    pass


class Member(Channel, name="{colour}:{level}"):
    colour: Colour
    level: Level


@pytest.mark.parametrize(
    "channel",
    [
        Pipeline(run_id="abc"),
        Cell(sheet=A_UUID, row=-0),
        Cell(sheet=A_UUID, row=7),
        Day(day=date(2026, 1, 2), user=A_UUID),
        Day(day=date(2026, 1, 2), user="ada"),
        Upload(file="user-1.tar.gz"),
        Upload(file="a.done"),
        Folder(owner="a:b", path="x-y:z"),
        News(),
        Member(colour=Colour.RED, level=Level.HIGH),
    ],
    ids=str,
)
def test_a_name_gives_its_channel_back(channel: Channel) -> None:
    again = type(channel).from_name(channel.name)
    assert again == channel
    assert again.name == channel.name


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (Pipeline, "pipeline:"),
        (Pipeline, "pipeline:a:b"),
        (Pipeline, "Pipeline:a"),
        (Pipeline, "xpipeline:a"),
        (Pipeline, "pipeline:a\n"),
        (Pipeline, "pipeline"),
        (Cell, f"cell-{A_UUID}-07"),
        (Cell, f"cell-{A_UUID}- 7"),
        (Cell, f"cell-{str(A_UUID).upper()}-7"),
        (Cell, f"cell-{A_UUID}-x"),
        (Day, "2026-13-02-ada"),
        (Folder, "doc:a/v1-b/v1-c"),
        (News, "news "),
        (Member, "red:3"),
        (Member, "RED:1"),
    ],
)
def test_what_the_template_cannot_make(cls: type[Channel], name: str) -> None:
    with pytest.raises(ChannelError, match="is not the name of a"):
        cls.from_name(name)


# What stands in a name for values of each type, and texts that pydantic takes for such a value.
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text("ab1_0-+:.", min_size=1, max_size=6)
    | st.sampled_from(["1_1", "007", "+5", "1e3", "1704067200", "20240101", A_UUID.hex, str(A_UUID).upper(), "true"]),
    int: st.integers(),
    UUID: st.uuids() | st.just(A_UUID),
    date: st.dates(),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Literal["a", "1"]: st.sampled_from(["a", "1"]),
    Literal[1, 7]: st.sampled_from([1, 7]),
}
KINDS = (
    [[kind] for kind in VALUES] + [list(pair) for pair in itertools.permutations(VALUES, 2)] + [[int, UUID, date, str]]
)


TEMPLATES = [("c:{x}", None), ("{x}-{y}", None), ("c-{x}", "")]


@pytest.mark.parametrize("kinds", KINDS, ids=[str(index) for index in range(len(KINDS))])
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_the_constructor_makes_is_taken_back(kinds: list[Any], data: st.DataObject) -> None:
    template, separators = data.draw(st.sampled_from(TEMPLATES))
    annotations = {name: Union[tuple(kinds)] for name in "xy" if f"{{{name}}}" in template}  # noqa: UP007
    declared: Any = type("Declared", (Channel,), {"__annotations__": annotations}, name=template, separators=separators)  # type: ignore[call-overload]
    values = {name: data.draw(VALUES[data.draw(st.sampled_from(kinds))]) for name in annotations}
    try:
        channel = declared(**values)
    except ChannelError:
        assume(False)
    again = declared.from_name(channel.name)
    assert again.name == channel.name
    if len(kinds) == 1:
        assert again == channel, "nothing else is written so"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int | str, "1_1"),
        (UUID | str, A_UUID.hex),
        (date | int, 1704067200),
        (str | date, date(2026, 1, 2)),
        (Any, A_UUID),
    ],
    ids=str,
)
def test_a_value_that_pydantic_would_read_as_another(annotation: Any, value: Any) -> None:
    declared: Any = type("Declared", (Channel,), {"__annotations__": {"x": annotation, "y": int}}, name="{x}-{y}")  # type: ignore[call-overload]
    channel = declared(x=value, y=7)
    assert declared.from_name(channel.name).name == channel.name


class Parts(Channel, name="{a}_{b}_{c}_{d}:end"):
    a: str
    b: str
    c: str
    d: str


@pytest.mark.parametrize("name", ["x_" * 256 + ":enx", "x_" * 10_000 + ":enx", "_" * 10_000])
def test_a_name_that_somebody_else_made_up_takes_no_time(name: str) -> None:
    began = time.process_time()
    with pytest.raises(ChannelError):
        Parts.from_name(name)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("annotation", [int, Any, int | str])
def test_an_integer_that_python_does_not_write(annotation: Any) -> None:
    declared: Any = type("Declared", (Channel,), {"__annotations__": {"x": annotation}}, name="{x}")  # type: ignore[call-overload]
    with pytest.raises(ChannelError, match="more digits than Python writes") as error:
        declared(x=10**5_000)
    assert error.value.parameter == "x"


@pytest.mark.parametrize("name", ["", None, 7, b"pipeline:a"])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(ChannelError):
        Pipeline.from_name(name)


@given(owner=st.text("ab:-v1/", min_size=1), path=st.text("ab:-v1", min_size=1))
def test_names_of_own_separators_are_one_to_one(owner: str, path: str) -> None:
    try:
        channel = Folder(owner=owner, path=path)
    except ChannelError:
        assume(False)
    else:
        assert Folder.from_name(channel.name) == channel


def test_a_literal_of_hexadecimal_digits_is_not_read_in_a_uuid() -> None:
    class Pair(Channel, name="{left}a{right}"):
        left: UUID | str
        right: str

    start, _, rest = str(A_UUID).partition("a")
    collides = Pair(left=start, right=f"{rest}a1")
    assert collides.name == f"{A_UUID}a1"
    with pytest.raises(ChannelError, match="left runs into 'a'"):
        Pair(left=A_UUID, right="1")


def test_separators_are_what_no_value_may_contain() -> None:
    assert Upload(file="a-b.c").name == "upload-a-b.c.done"
    with pytest.raises(ChannelError, match="contains '/'"):
        Folder(owner="a/b", path="c")


@pytest.mark.parametrize(
    ("name", "separators", "says"),
    [
        ("a:{x}-{y}", ":", "nothing of '-' separates"),
        ("a:{x}-{y}", "/", "'/' is not in the name"),
        ("a:{x}", 7, "separators must be a str"),
        (None, ":", "Give a name"),
    ],
)
def test_separators_that_make_no_sense(name: str | None, separators: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        type("Declared", (Channel,), {"__annotations__": {"x": str, "y": str}}, name=name, separators=separators)  # type: ignore[call-overload]


# -- text from the web and values go through the same checks ----------------------------------------------------------


def _refuse(value: Any) -> Any:
    if value in ("blue", Colour.BLUE, Level.HIGH, 2, "b"):
        raise ValueError("not this one")
    return value


def _wrap(value: Any, inner: Any) -> Any:
    return _refuse(inner(value))


UserId = NewType("UserId", int)
Alias = TypeAliasType("Alias", Annotated[Colour, AfterValidator(_refuse)])

ANNOTATIONS: list[tuple[Any, list[Any]]] = [
    (str, ["a", "b", "A b"]),
    (int, [0, 7, -3]),
    (UUID, [A_UUID]),
    (date, [date(2026, 1, 2)]),
    (Colour, list(Colour)),
    (Level, list(Level)),
    (Literal["a", "b"], ["a", "b", "c"]),
    (Literal[1, 2], [1, 2, 3]),
    (Annotated[Literal["a", "b"], AfterValidator(_refuse)], ["a", "b"]),
    (Annotated[Literal["a", "b"], BeforeValidator(_refuse)], ["a", "b"]),
    (Annotated[Literal["a", "b"], WrapValidator(_wrap)], ["a", "b"]),
    (Annotated[Literal[1, 2], AfterValidator(_refuse)], [1, 2]),
    (Annotated[Colour, AfterValidator(_refuse)], list(Colour)),
    (Annotated[Colour, BeforeValidator(_refuse)], list(Colour)),
    (Annotated[Level, AfterValidator(_refuse)], list(Level)),
    (Annotated[Annotated[Level, AfterValidator(_refuse)], Field(description="x")], list(Level)),
    (Annotated[Level, AfterValidator(_refuse)] | None, list(Level)),
    (Annotated[Colour, AfterValidator(_refuse)] | int, [*Colour, 5]),
    (Alias, list(Colour)),
    (UserId, [1, 2]),
    (Annotated[int, Field(gt=3)], [3, 4]),
    (Annotated[str, StringConstraints(pattern="^[ab]+$", max_length=3)], ["ab", "c", "aaaa"]),
    (Annotated[str, AfterValidator(str.upper)], ["a", "B"]),
    (Annotated[int, AfterValidator(_refuse)], [1, 2]),
]


@pytest.mark.parametrize(("annotation", "values"), ANNOTATIONS, ids=[str(index) for index in range(len(ANNOTATIONS))])
@given(data=st.data())
def test_text_and_values_meet_the_same_checks(annotation: Any, values: list[Any], data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(values))
    text = str(value.value if isinstance(value, Enum) else value)
    declared: Any = type("Declared", (Channel,), {"__annotations__": {"x": annotation}}, name="c:{x}")  # type: ignore[call-overload]

    def made(make: Any) -> Any:
        try:
            return make()
        except ChannelError:
            return None

    assert made(lambda: declared.from_strings({"x": text})) == made(lambda: declared(x=value))


@pytest.mark.parametrize(("annotation", "values"), ANNOTATIONS, ids=[str(index) for index in range(len(ANNOTATIONS))])
@given(text=st.text("ab123rdelu-:", max_size=6))
def test_whatever_text_is_accepted_python_accepts_too(annotation: Any, values: list[Any], text: str) -> None:
    declared: Any = type("Declared", (Channel,), {"__annotations__": {"x": annotation}}, name="c:{x}")  # type: ignore[call-overload]
    try:
        channel = declared.from_strings({"x": text})
    except ChannelError:
        return
    assert declared(x=channel.x).name == channel.name


# -- what is written by mistake ---------------------------------------------------------------------------------------


class Status(BaseModel):
    message: str


def test_parameters_by_position() -> None:
    with pytest.raises(ChannelError, match=r"Write Pipeline\(run_id=\.\.\.\)"):
        Pipeline("abc")  # type: ignore[call-arg]


def test_a_topic_that_is_annotated() -> None:
    with pytest.raises(ConfigurationError, match=r"write status = topic\(\.\.\.\)"):

        class Wrong(Channel, name="wrong:{run_id}"):
            run_id: str
            status: Status

    with pytest.raises(ConfigurationError, match=r"status = topic\(\.\.\.\)"):

        class Mixin(Channel):
            status: Status


@pytest.mark.parametrize(
    "given",
    [{"a": 1}, [str], (int, str), 7, True, b"x", Status(message="x"), lambda: None, {1, 2}],
    ids=lambda given: type(given).__name__,
)
def test_a_value_for_a_type(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="a value and not a type"):
        topic(given)


@pytest.mark.parametrize(
    "given", [None, int, list[int], Literal["a"], Annotated[int, 3], int | str, Any, Status, UserId]
)
def test_types(given: Any) -> None:
    topic(given)


@pytest.mark.parametrize("values", ["run_id=a", None, ["a"], 7])
def test_from_strings_of_something_else(values: Any) -> None:
    with pytest.raises(ChannelError, match="expected a dict"):
        Pipeline.from_strings(values)


@pytest.mark.parametrize("message", ["status", None, {"topic": "status"}, Message])
def test_matches_of_something_else(message: Any) -> None:
    for matching in (Pipeline.status, Pipeline(run_id="a").status):
        with pytest.raises(TopicError, match="takes a Message"):
            matching.matches(message)


def test_the_signature_of_a_class() -> None:
    assert str(inspect.signature(Cell)) == "(*, sheet: uuid.UUID, row: int)"
    assert str(inspect.signature(News)) == "()"
