from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_devserver import frames


@pytest.mark.parametrize(
    ("text", "compact"),
    [
        (' { "a" : 2.50 , "b" : [ 1e400 , 12345678901234567890 ] } ', '{"a":2.50,"b":[1e400,12345678901234567890]}'),
        ("\tnull\r\n", "null"),
        ('"a  b\\u00dc\\/"', '"a  b\\u00dc\\/"'),
        (' [ "\\ud800 x" , "\\" " ] ', '["\\ud800 x","\\" "]'),  # a lone surrogate, valid for Go
        ('{"a":1,"a":2}', '{"a":1,"a":2}'),
        ("-0", "-0"),
    ],
)
def test_json_is_compacted_and_otherwise_untouched(text: str, compact: str) -> None:
    assert frames.compact_json(text) == compact


@pytest.mark.parametrize("around", ["{}", '["\\ud800",{}]'])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "NaN",
        "-Infinity",
        "{'a':1}",
        "01",
        "1.",
        '{"a":1,}',
        "1 2",
        '"\t"',
        "[",
        "[}",
        "{1:2}",
        '{"a"}',
        "[1,]",
        "[,1]",
        ",",
        "]",
        '"\\x"',
    ],
)
def test_other_text_is_not_json(text: str, around: str) -> None:
    assert frames.compact_json(around.replace("{}", text)) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=20))
def test_compacting_keeps_the_value(value: object) -> None:
    compact = frames.compact_json(json.dumps(value, indent=2))
    assert compact is not None
    assert json.loads(compact) == value


def test_html_characters_and_line_separators_are_escaped_as_go_does() -> None:
    frame = frames.envelope(
        "data", '"<b>&\u2028\u2029"', created_at="2026-01-01T00:00:00Z", channel="<c>", topic="\u2028t"
    )
    assert frame.sse == (
        b'data: {"kind":"data","data":"\\u003cb\\u003e\\u0026\\u2028\\u2029","created_at":"2026-01-01T00:00:00Z",'
        b'"channel":"\\u003cc\\u003e","env_id":"00000000-0000-4000-b000-000000000000","topic":"\\u2028t"}\n\n'
    )


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_is_one_unmasked_final_text_frame(size: int, header: bytes) -> None:
    assert frames.Frame(b"x" * size).websocket == header + b"x" * size


def test_raw_bytes_go_to_sse_as_they_are() -> None:
    assert frames.Frame(b"event: x\n\n", raw=True).sse == b"event: x\n\n"
