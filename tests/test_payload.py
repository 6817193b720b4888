from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime, timezone
from enum import Enum, IntEnum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError

from inngest_realtime_core._api.payload import MAX_PAYLOAD, encode_metadata, encode_payload
from inngest_realtime_core.errors import PublishError

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda children: st.lists(children) | st.dictionaries(TEXT, children),
    max_leaves=20,
)


class Status(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    message: str
    step_name: str | None = Field(default=None, alias="stepName")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


@dataclass
class Point:
    x: int
    when: date


class Pair(NamedTuple):
    a: int
    b: str


class Fast(msgspec.Struct):
    x: int


class TestPlainData:
    @given(JSON)
    def test_json_arrives_as_it_is(self, data: Any) -> None:
        assert json.loads(encode_payload(data)) == data

    def test_is_compact_utf8(self) -> None:
        assert encode_payload({"a": [1, "é"], "b": None}) == '{"a":[1,"é"],"b":null}'.encode()
        assert encode_payload("text") == b'"text"'
        assert encode_payload(None) == b"null"

    @pytest.mark.parametrize(
        ("data", "encoded"),
        [
            (Status(message="m"), b'{"message":"m","stepName":null}'),
            (Point(1, date(2026, 1, 2)), b'{"x":1,"when":"2026-01-02"}'),
            (Pair(1, "x"), b'[1,"x"]'),
            (Fast(1), b'{"x":1}'),
            (OrderedDict(b=1, a=Colour.RED), b'{"b":1,"a":"red"}'),
            ([Level.HIGH, True], b"[2,true]"),
            (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
            (datetime(2026, 1, 2, tzinfo=timezone.utc), b'"2026-01-02T00:00:00Z"'),
            ({"deep": [{"point": Point(1, date(2026, 1, 2))}]}, b'{"deep":[{"point":{"x":1,"when":"2026-01-02"}}]}'),
            (12345678901234567890123, b"12345678901234567890123"),
        ],
    )
    def test_what_has_a_json_form(self, data: object, encoded: bytes) -> None:
        assert encode_payload(data) == encoded

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (float("nan"), "^data is nan, which JSON cannot carry"),
            ({"a": [1, {"b": float("-inf")}]}, r"^data\.a\[1\]\.b is -inf"),
            (Point(float("inf"), date.min), r"^data\.x is inf"),  # type: ignore[arg-type]
            ({1: "x"}, "^data has the key 1"),
            ({"a": {None: 1}}, r"^data\.a has the key None"),
            ("\ud800", "^data contains a lone surrogate"),
            ({"\udfff": 1}, "^data contains a lone surrogate"),
            ({"a": ["x", "\ud800"]}, r"^data\.a\[1\] contains a lone surrogate"),
            (b"x", "^data is bytes"),
            (bytearray(b"x"), "^data is bytes"),
            (memoryview(b"x"), "^data is bytes"),
            ({"a": b"x"}, r"^data\.a is bytes"),
            (Point(1, b"x"), r"^data\.when is bytes"),  # type: ignore[arg-type]
            (object(), "^data is of type object, without a JSON form"),
            ({"f": len}, r"^data\.f is of type builtin_function_or_method"),
        ],
    )
    def test_what_has_none(self, data: object, says: str) -> None:
        with pytest.raises(PublishError, match=says):
            encode_payload(data)

    def test_a_number_of_too_many_digits(self) -> None:
        with pytest.raises(PublishError, match=r"^data cannot be written as JSON"):
            encode_payload(10**5000)

    def test_what_contains_itself(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(PublishError, match="nested too deeply"):
            encode_payload(endless)


class TestTypedData:
    adapter = TypeAdapter(Status)

    def test_an_instance(self) -> None:
        assert encode_payload(Status(message="m", stepName="s"), self.adapter) == b'{"message":"m","stepName":"s"}'

    def test_plain_data(self) -> None:
        assert encode_payload({"message": "m", "step_name": "s"}, self.adapter) == b'{"message":"m","stepName":"s"}'
        assert encode_payload({"message": "m", "stepName": "s"}, self.adapter) == b'{"message":"m","stepName":"s"}'

    def test_data_that_does_not_fit(self) -> None:
        with pytest.raises(PublishError, match=r"does not fit the topic's type: message: Field required\.") as caught:
            encode_payload({"massage": "private"}, self.adapter)
        assert "private" not in str(caught.value)
        assert isinstance(caught.value.__cause__, ValidationError)
        with pytest.raises(PublishError, match="data: Input should be a valid integer"):
            encode_payload("x", TypeAdapter(int))

    def test_an_instance_that_was_spoiled(self) -> None:
        status = Status(message="m")
        status.message = 7  # type: ignore[assignment]
        with pytest.raises(PublishError, match="cannot be serialised as the topic's type"):
            encode_payload(status, self.adapter)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_nan_is_refused_rather_than_sent_as_null(self, value: float) -> None:
        with pytest.raises(PublishError, match="JSON cannot carry"):
            encode_payload(value, TypeAdapter(float))
        with pytest.raises(PublishError, match=r"data\[0\] is"):
            encode_payload([value], TypeAdapter(list[float]))

    def test_bytes_are_refused_although_pydantic_would_decode_them(self) -> None:
        with pytest.raises(PublishError, match="bytes"):
            encode_payload(b"text", TypeAdapter(str))

    def test_a_surrogate_is_refused(self) -> None:
        with pytest.raises(PublishError, match=r"lone surrogate|valid string"):
            encode_payload("\ud800", TypeAdapter(str))

    def test_the_types_own_serialisation_counts(self) -> None:
        shout: Any = Annotated[str, PlainSerializer(str.upper)]
        assert encode_payload("x", TypeAdapter(shout)) == b'"X"'


class TestSize:
    def test_the_largest_message(self) -> None:
        assert MAX_PAYLOAD == 512 * 1024
        assert len(encode_payload("x" * (MAX_PAYLOAD - 2))) == MAX_PAYLOAD

    @pytest.mark.parametrize("data", ["x" * (MAX_PAYLOAD - 1), "é" * (MAX_PAYLOAD // 2)])
    def test_one_byte_more(self, data: str) -> None:
        with pytest.raises(PublishError, match=r"52\d,\d{3} bytes as JSON"):
            encode_payload(data)
        with pytest.raises(PublishError, match="512 KiB"):
            encode_payload(data, TypeAdapter(str))


class TestMetadata:
    def test_is_an_object(self) -> None:
        assert encode_metadata({"a": Colour.RED}) == '{"a":"red"}'
        assert encode_metadata({}) == "{}"

    @pytest.mark.parametrize("metadata", [[], "x", 7, [("a", 1)], Status(message="m")])
    def test_nothing_else(self, metadata: object) -> None:
        with pytest.raises(PublishError, match="metadata must be a mapping"):
            encode_metadata(metadata)

    def test_values_are_checked_too(self) -> None:
        with pytest.raises(PublishError, match=r"^metadata\.a is nan"):
            encode_metadata({"a": float("nan")})
