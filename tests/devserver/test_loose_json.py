"""JSON as Inngest's server reads it."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_devserver import loose_json

from .client import Client, receive, receive_data


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("🦊".encode(), "🦊"),
        ("🦊".encode()[:2], "\ufffd\ufffd"),
        (b"a\xff(\xe2(\xa1", "a\ufffd(\ufffd(\ufffd"),
    ],
)
def test_each_byte_that_is_not_utf_8_becomes_one_replacement_character(body: bytes, text: str) -> None:
    assert loose_json.decode_bytes(body) == text


@pytest.mark.parametrize("depth", [9_000, 10_000])
def test_deep_nesting_is_json(depth: int) -> None:
    text = "[" * depth + "1" + "]" * depth
    assert loose_json.compact(text.replace("[", " [ ")) == text
    assert loose_json.compact("[" * 10_001 + "]" * 10_001) is None


@given(st.text(alphabet='{}[]:,"\\ \t09.-+eEtruefalsn/u\ud800x', max_size=24))
def test_what_is_json_is_what_pythons_reader_takes(text: str) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        assert loose_json.compact(text) is None
    else:
        assert loose_json.compact(text) is not None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(0, 1) | st.text(), st.lists, max_leaves=20))
def test_it_compacts_as_msgspec_does(value: object) -> None:
    text = json.dumps(value, indent=3)
    assert loose_json.compact(text) == msgspec.json.format(text, indent=-1)


async def test_bytes_of_json_that_are_not_utf_8_are_passed_on(client: Client, channel: str) -> None:
    received: list[bytes] = []
    async with client.connect(await client.token((channel, "t"))) as connection:
        await (await connection.ping())
        await client.publish(channel, "t", b'"\xff"')
        received.append(await connection.recv(decode=False))
    assert received[0].startswith(b'{"kind":"data","data":"\xff","created_at"')


async def test_json_of_9000_levels_is_passed_on_as_json(client: Client, channel: str) -> None:
    deep = "[" * 9_000 + "]" * 9_000
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", deep)
        assert deep in await receive(connection)
        await client.publish(channel, "t", b"\xff")
        assert await receive_data(connection) == "\ufffd"
