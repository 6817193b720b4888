"""What JSON cannot say is refused in the parts of a typed value that have no type, as in data without any."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, RootModel, TypeAdapter
from typing_extensions import TypedDict

from inngest_realtime_core._api.payload import encode_payload
from inngest_realtime_core.errors import PublishError


class Model(BaseModel):
    x: Any


class Tree(BaseModel):
    children: list[Tree] = []
    value: Any = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Root(RootModel[list[Any]]):
    pass


class Typed(TypedDict):
    x: Any


@dataclasses.dataclass
class Data:
    x: Any


class Nested(BaseModel):
    inner: Model | None
    typed: dict[str, Typed]


# How a value comes into an untyped part, and where it is said to be.
WAYS: dict[str, tuple[Any, Any, str]] = {
    "model": (Model, lambda value: Model(x=value), "data.x"),
    "as a dict": (Model, lambda value: {"x": value}, "data.x"),
    "recursive": (Tree, lambda value: Tree(children=[Tree(children=[Tree(value=value)])]), "data.children[0].children"),
    "extra": (Open, lambda value: Open(surprise=value), "data.surprise"),
    "root": (Root, lambda value: [0, value], r"data[1]"),
    "typed dict": (Typed, lambda value: {"x": value}, "data.x"),
    "dataclass": (Data, lambda value: Data(value), "data.x"),
    "list": (list, lambda value: [value], "data[0]"),
    "sequence": (Sequence[Any], lambda value: [value], "data[0]"),
    "dict": (dict[str, Any], lambda value: {"k": value}, "data.k"),
    "mapping": (Mapping[str, Any], lambda value: {"k": value}, "data.k"),
    "tuple": (tuple[Any, ...], lambda value: (value,), "data[0]"),
    "optional": (Model | None, lambda value: Model(x=value), "data.x"),
    "union": (dict[str, Any] | list[Any] | int, lambda value: [value], "data[0]"),
    "annotated": (Annotated[Any, BeforeValidator(lambda value: value)], lambda value: value, "data"),
    "object": (object, lambda value: value, "data"),
    "nested": (Nested, lambda value: Nested(inner=None, typed={"k": {"x": value}}), "data.typed.k.x"),
    "untyped model": (None, lambda value: {"m": Model(x=value)}, "data.m.x"),
}

UNSAYABLE: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": [float("inf")],
    "bytes": b"ab",
    "no text": b"\xff",
    "number as key": {1: 2},
    "colliding keys": {1: 2, "1": 3},
    "none as key": {None: 1},
    "tuple as key": {(1, 2): 3},
    "bytes as key": {b"k": 1},
    "surrogate": "\ud800",
    "bytes in a set": {b"x"},
}


def deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", UNSAYABLE)
def test_what_json_cannot_say(way: str, what: str) -> None:
    kind, make, path = WAYS[way]
    with pytest.raises(PublishError) as caught:
        encode_payload(make(UNSAYABLE[what]), None if kind is None else TypeAdapter(kind))
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("way", WAYS)
def test_deep_nesting(way: str) -> None:
    kind, make, _ = WAYS[way]
    with pytest.raises(PublishError, match="nested too deeply"):
        encode_payload(make(deep(5_000)), None if kind is None else TypeAdapter(kind))


@pytest.mark.parametrize("way", WAYS)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé "),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
        max_leaves=8,
    )
)
def test_what_json_can_say_passes(way: str, value: Any) -> None:
    kind, make, _ = WAYS[way]
    assert json.dumps(value) in json.dumps(json.loads(encode_payload(make(value), kind and TypeAdapter(kind))))


class Binary(BaseModel):
    content: bytes


class Written(BaseModel):
    scores: dict[int, float]
    secret: Annotated[Any, PlainSerializer(lambda value: "hidden")]
    left_out: Any = Field(default=None, exclude=True)


class Pair(NamedTuple):
    a: int
    b: str


def test_types_write_what_they_say() -> None:
    assert encode_payload(Binary(content=b"ab"), TypeAdapter(Binary)) == b'{"content":"ab"}'
    written = Written(scores={1: 2.0}, secret=b"\xff", left_out=float("nan"))
    assert encode_payload(written, TypeAdapter(Written)) == b'{"scores":{"1":2.0},"secret":"hidden"}'
    assert encode_payload(Pair(1, "x"), TypeAdapter(Pair)) == b'[1,"x"]'


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dict[str, int], {"\ud800": 1}),
        (dict[str, Any], {"\ud800": 1}),
        (dict[str, dict[str, int]], {"a": {"\ud800": 1}}),
        (dict[int | str, int], {1: 1, "1": 2}),
        (list[dict[float | str, int]], [{1.5: 1, "1.5": 2}]),
    ],
)
def test_keys_with_a_type_that_json_cannot_say(kind: Any, value: Any) -> None:
    with pytest.raises(PublishError):
        encode_payload(value, TypeAdapter(kind))


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (dict[int, int], {1: 2}, b'{"1":2}'),
        (dict[int | str, int], {1: 2, "a": 3}, b'{"1":2,"a":3}'),
        (dict[str, int], {"\u00e9": 1}, '{"\u00e9":1}'.encode()),
        (dict[bool, int], {True: 1, False: 2}, b'{"true":1,"false":2}'),
    ],
)
def test_keys_with_a_type_that_json_can_say(kind: Any, value: Any, written: bytes) -> None:
    assert encode_payload(value, TypeAdapter(kind)) == written


def test_bytes_of_a_typed_field_that_are_no_text() -> None:
    with pytest.raises(PublishError, match="cannot be serialised"):
        encode_payload(Binary(content=b"\xff"), TypeAdapter(Binary))
