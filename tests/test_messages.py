from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from inngest_realtime_core.messages.message import Gap, Message
from wire import ENV, chunk_frame, decoded, end_frame, frame, message_of, recorded, start_frame

PIPELINE = ',"kind":"data","envId":"' + ENV + '"}'


class Status(BaseModel):
    message: str
    step: str | None = None


def test_the_recording_as_the_typescript_sdk_encodes_it() -> None:
    """Exact bytes: key order, absent values left out, a null payload too, milliseconds, number text kept."""
    lines = [Message(envelope).to_json().decode() for envelope in decoded(*recorded("pipeline.jsonl"))]
    head = '{"channel":"pipeline:abc123","topic":'
    assert lines == [
        head + '"status","data":{"message":"Starting","step":"research"}'
        ',"createdAt":"2026-11-24T13:35:59.767Z"' + PIPELINE,
        head + r'"status","data":{"message":"\u00dcn\u00efc\u00f6d\u00e9 \u2028 \u003cb\u003e\u0026amp;\u003c/b\u003e'
        r' \ud83d\ude80\nline two"}'
        ',"createdAt":"2026-11-24T13:35:59.820Z"' + PIPELINE,
        head + '"tokens","data":"just a string","createdAt":"2026-11-24T13:35:59.873Z"' + PIPELINE,
        head + '"tokens","data":"plain text, not JSON","createdAt":"2026-11-24T13:35:59.926Z"' + PIPELINE,
        head + '"status","data":42,"createdAt":"2026-11-24T13:35:59.979Z"' + PIPELINE,
        head + '"status","createdAt":"2026-11-24T13:36:00.032Z"' + PIPELINE,
        head + '"status","data":[],"createdAt":"2026-11-24T13:36:00.085Z"' + PIPELINE,
        head + '"status","data":true,"createdAt":"2026-11-24T13:36:00.138Z"' + PIPELINE,
        head + '"status","data":{"n":12345678901234567890,"f":1.0,"e":1e400}'
        ',"createdAt":"2026-11-24T13:36:00.191Z"' + PIPELINE,
        head + '"status","data":{"a":1,"b":[1,2]},"createdAt":"2026-11-24T13:36:00.243Z"' + PIPELINE,
        head + '"status","data":{"runId":"x"},"createdAt":"2026-11-24T13:36:00.296Z"'
        ',"runId":"01JABCDEFGHJKMNPQRSTVWXYZ0"' + PIPELINE,
        head + '"status","data":{"m":1},"createdAt":"2026-11-24T13:36:00.349Z"' + PIPELINE,
        head + '"answer","kind":"datastream-start","data":"24m59jgltaa5a","streamId":"24m59jgltaa5a"}',
        *(
            head + f'"answer","kind":"chunk","data":"{text}","streamId":"24m59jgltaa5a"}}'
            for text in ("The ", "quick ", "brown ", "fox ", "fox ", "🦊")
        ),
        head + '"answer","kind":"datastream-end","data":"24m59jgltaa5a","streamId":"24m59jgltaa5a"}',
        head + '"answer","kind":"datastream-start","data":"rs6e9gavxr71","streamId":"rs6e9gavxr71"}',
        head + '"answer","kind":"chunk","data":"split utf8: ��","streamId":"rs6e9gavxr71"}',
        head + '"answer","kind":"chunk","data":"�� done","streamId":"rs6e9gavxr71"}',
        head + '"answer","kind":"datastream-end","data":"rs6e9gavxr71","streamId":"rs6e9gavxr71"}',
    ]


def test_attributes() -> None:
    raw = (
        b'{"kind":"data","data":{"x":[1,2]},"metadata":{"k":"v"},"created_at":"2026-11-24T13:20:17.892763204Z",'
        b'"channel":"c","env_id":"e","topic":"t","run_id":"r","fn_id":"f"}'
    )
    (envelope,) = decoded(raw)
    message: Message[Any] = Message(envelope)
    assert (message.kind, message.channel, message.topic, message.data) == ("data", "c", "t", {"x": [1, 2]})
    assert (message.run_id, message.fn_id, message.env_id, message.metadata) == ("r", "f", "e", {"k": "v"})
    assert message.created_at == datetime(2026, 11, 24, 13, 20, 17, 892763, timezone.utc)
    assert (message.stream_id, message.stream, message.event_id) == (None, None, None)
    assert message.to_dict() == {
        "channel": "c",
        "topic": "t",
        "data": {"x": [1, 2]},
        "fnId": "f",
        "createdAt": "2026-11-24T13:20:17.892Z",
        "runId": "r",
        "kind": "data",
        "envId": "e",
    }


def test_absent_attributes_are_none() -> None:
    (envelope,) = decoded(b'{"kind":"data","channel":"c","topic":"t"}')
    message: Message[Any] = Message(envelope)
    assert message.data is None
    assert (message.run_id, message.fn_id, message.env_id, message.metadata, message.created_at) == (None,) * 5
    assert message.to_dict() == {"channel": "c", "topic": "t", "kind": "data"}


def test_a_run_message_without_a_topic() -> None:
    (envelope,) = decoded(b'{"kind":"run","data":{"status":"Completed"},"channel":"01RUN"}')
    message: Message[Any] = Message(envelope)
    assert message.to_json() == b'{"channel":"01RUN","data":{"status":"Completed"},"kind":"run"}'


def test_data_is_decoded_once() -> None:
    message: Message[Any] = Message(message_of({"x": [1]}))
    assert message.data is message.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"12345678901234567890", 12345678901234567890),
        (b"1e400", float("inf")),
        (b"[-1e400, 2.50]", [float("-inf"), 2.5]),
        (b'"\\ud83d\\ude80"', "🚀"),
    ],
)
def test_payloads_beyond_the_ordinary(text: bytes, value: object) -> None:
    (envelope,) = decoded(b'{"kind":"data","channel":"c","topic":"t","data":%b}' % text)
    message: Message[Any] = Message(envelope)
    assert message.data == value
    assert message.to_dict()["data"] == value
    assert text.replace(b", ", b",") in message.to_json().replace(b", ", b",")


def validated(payload: object, schema: TypeAdapter[Any]) -> Message[Any]:
    envelope = message_of(payload)
    return Message(envelope, schema, schema.validate_json(bytes(envelope.data)))


def test_with_a_schema_the_validated_value_is_encoded() -> None:
    message = validated({"message": "hi", "unknown": "stripped"}, TypeAdapter(Status))
    assert message.data == Status(message="hi")
    assert b'"data":{"message":"hi","step":null},' in message.to_json()
    assert message.to_dict()["data"] == {"message": "hi", "step": None}


def test_a_validated_null_is_left_out_too() -> None:
    message = validated(None, TypeAdapter(str | None))
    assert message.data is None
    assert "data" not in message.to_dict()


def test_json_and_events_are_made_once() -> None:
    message: Message[Any] = Message(message_of(1), None, 1, "id-1")
    assert message.to_json() is message.to_json()
    assert message.to_sse() is message.to_sse()
    assert message.to_event() is message.to_event()


def test_events() -> None:
    envelope = message_of(1)
    plain, named = Message(envelope, None, 1), Message(envelope, None, 1, "some.id")
    assert plain.to_sse() == b"data: " + plain.to_json() + b"\n\n"
    assert plain.to_event() == plain.to_sse() == named.to_sse()
    assert named.to_event() == plain.to_sse()[:-1] + b"id: some.id\n\n", "a reader cut off has the id before the data"


def test_gaps() -> None:
    gap = Message.gap("c", "overflow", 3)
    assert (gap.kind, gap.channel, gap.topic, gap.data) == ("gap", "c", "", Gap("overflow", 3))
    assert gap.to_sse() == b'event: gap\ndata: {"channel":"c","data":{"reason":"overflow","missed":3},"kind":"gap"}\n\n'
    assert gap.to_dict()["data"] == {"reason": "overflow", "missed": 3}
    assert Message.gap("c", "reconnect").data == Gap("reconnect", None)


def test_stream_messages_have_their_text_as_data() -> None:
    start, chunk, end = (Message[Any](m) for m in decoded(start_frame("s"), chunk_frame("s", "hi"), end_frame("s")))
    assert [m.data for m in (start, chunk, end)] == ["s", "hi", "s"]
    assert [m.stream_id for m in (start, chunk, end)] == ["s", "s", "s"]
    assert chunk.created_at is None


def test_repr_is_short() -> None:
    text = repr(Message[Any](message_of("x" * 10_000)))
    assert len(text) < 400
    assert "channel='c'" in text


def parse_sse(body: bytes) -> list[dict[str, str]]:
    """The events of a stream, as the HTML standard says to parse one."""
    events: list[dict[str, str]] = []
    fields: dict[str, list[str]] = {}
    text = body.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n"):
        if not line:
            if "data" in fields:
                events.append({name: "\n".join(values) for name, values in fields.items()})
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
    return events


AWKWARD = st.text(alphabet=st.sampled_from('a\n\r\u2028\u2029\x00\x85\ufeff🚀"\\:')) | st.text()
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | AWKWARD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(AWKWARD, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(PAYLOADS, min_size=1, max_size=4), st.sampled_from([None, 0, 1, "\n", "\r\n"]), st.booleans())
def test_any_payload_survives_server_sent_events(payloads: list[Any], indent: Any, ascii_only: bool) -> None:
    # Inngest compacts what it passes on; something between might not.
    body = b""
    for number, payload in enumerate(payloads):
        text = json.dumps(payload, indent=indent, ensure_ascii=ascii_only)
        (envelope,) = decoded(f'{{"kind":"data","data":{text},"channel":"c","topic":"t"}}'.encode())
        body += Message[Any](envelope, None, payload, str(number)).to_event()
    events = parse_sse(body)
    assert [event["id"] for event in events] == [str(number) for number in range(len(payloads))]
    assert [json.loads(event["data"]).get("data") for event in events] == payloads


@given(st.text(alphabet=st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010)))
def test_lone_surrogates_survive_as_replacement_characters(text: str) -> None:
    (envelope,) = decoded(frame(text))
    (event,) = parse_sse(Message[Any](envelope).to_event())
    expected = json.loads(json.dumps(text)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(event["data"])["data"] == expected


@given(PAYLOADS, st.none() | st.text(alphabet="0123456789abcdef.", min_size=1))
def test_schema_values_survive_server_sent_events(payload: Any, id: str | None) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(dict[str, Any] | list[Any] | str | None)
    if not isinstance(payload, dict | list | str | None):
        return
    message: Message[Any] = Message(message_of(payload), adapter, payload, id)
    (event,) = parse_sse(message.to_event())
    assert json.loads(event["data"]).get("data") == payload
    assert event.get("id") == id
