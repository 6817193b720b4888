from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core._upstream import protocol
from inngest_realtime_core._upstream.protocol import CLOSING, Decoder, Unreadable, subscribe_frame, unsubscribe_frame
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import Message
from wire import ENV, chunk_frame, decoded, end_frame, frame, recorded, start_frame

CHANNEL = "pipeline:abc123"

# kind, topic, payload, created_at, run_id, metadata, stream_id, index: all 24 envelopes of the recording.
RECORDED: list[tuple[str, str, bytes, str | None, str | None, bytes, str | None, int]] = [
    ("data", "status", b'{"message":"Starting","step":"research"}', "59.767749674", None, b"null", None, 0),
    (
        "data",
        "status",
        rb'{"message":"\u00dcn\u00efc\u00f6d\u00e9 \u2028 \u003cb\u003e\u0026amp;\u003c/b\u003e'
        rb' \ud83d\ude80\nline two"}',
        "59.820943348",
        None,
        b"null",
        None,
        0,
    ),
    ("data", "tokens", b'"just a string"', "59.873595562", None, b"null", None, 0),
    ("data", "tokens", b'"plain text, not JSON"', "59.926572304", None, b"null", None, 0),
    ("data", "status", b"42", "59.979773064", None, b"null", None, 0),
    ("data", "status", b"null", "00.032756299", None, b"null", None, 0),
    ("data", "status", b"[]", "00.085294556", None, b"null", None, 0),
    ("data", "status", b"true", "00.138250003", None, b"null", None, 0),
    ("data", "status", b'{"n":12345678901234567890,"f":1.0,"e":1e400}', "00.191118846", None, b"null", None, 0),
    ("data", "status", b'{"a":1,"b":[1,2]}', "00.243781344", None, b"null", None, 0),
    ("data", "status", b'{"runId":"x"}', "00.296577717", "01JABCDEFGHJKMNPQRSTVWXYZ0", b"null", None, 0),
    ("data", "status", b'{"m":1}', "00.349260771", None, b'{"k":"v"}', None, 0),
    ("datastream-start", "answer", b'"24m59jgltaa5a"', "00.402015463", None, b"null", "24m59jgltaa5a", 0),
    ("chunk", "answer", b'"The "', None, None, b"null", "24m59jgltaa5a", 0),
    ("chunk", "answer", b'"quick "', None, None, b"null", "24m59jgltaa5a", 1),
    ("chunk", "answer", b'"brown "', None, None, b"null", "24m59jgltaa5a", 2),
    ("chunk", "answer", b'"fox "', None, None, b"null", "24m59jgltaa5a", 3),
    ("chunk", "answer", b'"fox "', None, None, b"null", "24m59jgltaa5a", 4),
    ("chunk", "answer", '"🦊"'.encode(), None, None, b"null", "24m59jgltaa5a", 5),
    ("datastream-end", "answer", b'"24m59jgltaa5a"', "00.402015463", None, b"null", "24m59jgltaa5a", 0),
    ("datastream-start", "answer", b'"rs6e9gavxr71"', "00.911911414", None, b"null", "rs6e9gavxr71", 0),
    ("chunk", "answer", '"split utf8: ��"'.encode(), None, None, b"null", "rs6e9gavxr71", 0),
    ("chunk", "answer", '"�� done"'.encode(), None, None, b"null", "rs6e9gavxr71", 1),
    ("datastream-end", "answer", b'"rs6e9gavxr71"', "00.911911414", None, b"null", "rs6e9gavxr71", 0),
]


def test_recorded_frames() -> None:
    seen = [
        (
            envelope.kind,
            envelope.topic,
            bytes(envelope.data),
            envelope.created_at[17:-1] if envelope.created_at else None,
            envelope.run_id,
            bytes(envelope.metadata),
            envelope.stream_id,
            envelope.index,
        )
        for envelope in decoded(*recorded("pipeline.jsonl"))
    ]
    assert len(seen) == len(RECORDED)
    for envelope, expected in zip(seen, RECORDED, strict=True):
        assert envelope == expected


def test_recorded_envelopes_know_their_channel_and_environment() -> None:
    for envelope in decoded(*recorded("pipeline.jsonl")):
        assert envelope.channel == CHANNEL
        assert envelope.env_id == (None if envelope.kind == "chunk" else ENV)


def test_the_recorded_tee_frame_is_no_message() -> None:
    raw = recorded("pipeline.jsonl")[-1]
    assert raw == b"raw: bytes straight through\n\n"
    assert Decoder().decode(raw) is None


def test_recorded_closing() -> None:
    (raw,) = recorded("closing.jsonl")
    assert Decoder().decode(raw) == CLOSING


def test_unknown_keys_are_passed_over() -> None:
    raw = b'{"kind":"data","data":1,"channel":"c","topic":"t","fn_slug":"x","later":{"a":[1]},"fn_id":"f"}'
    (envelope,) = decoded(raw)
    assert (envelope.fn_id, bytes(envelope.data)) == ("f", b"1")


def test_keys_of_ours_are_not_taken_from_the_wire() -> None:
    raw = b'{"kind":"data","data":1,"channel":"c","topic":"t","(index)":7,"(identity)":"forged","stream_id":"s"}'
    (envelope,) = decoded(raw)
    assert (envelope.index, envelope.known_identity, envelope.stream_id, envelope.stream) == (0, "", None, None)


def test_a_missing_payload_is_null() -> None:
    (envelope,) = decoded(b'{"kind":"data","channel":"c","topic":"t"}')
    assert bytes(envelope.data) == b"null"


def test_streams_interleave() -> None:
    messages = decoded(
        start_frame("a", channel="one", topic="x"),
        start_frame("b", channel="two", topic="y"),
        chunk_frame("b", "B0"),
        chunk_frame("a", "A0"),
        chunk_frame("b", "B1"),
        end_frame("b", channel="two", topic="y"),
        chunk_frame("a", "A1"),
        end_frame("a", channel="one", topic="x"),
    )
    assert [(m.kind, m.channel, m.topic, m.stream_id, m.index) for m in messages] == [
        ("datastream-start", "one", "x", "a", 0),
        ("datastream-start", "two", "y", "b", 0),
        ("chunk", "two", "y", "b", 0),
        ("chunk", "one", "x", "a", 0),
        ("chunk", "two", "y", "b", 1),
        ("datastream-end", "two", "y", "b", 0),
        ("chunk", "one", "x", "a", 1),
        ("datastream-end", "one", "x", "a", 0),
    ]


def test_the_end_of_a_stream_whose_start_was_missed_says_where_it_was() -> None:
    missed, known = decoded(end_frame("a", channel="one", topic="x"), start_frame("b"))
    assert (missed.kind, missed.channel, missed.topic, missed.stream_id) == ("datastream-end", "one", "x", None)
    (_, ended, again) = decoded(start_frame("a"), end_frame("a"), end_frame("a"))
    assert (ended.stream_id, again.stream_id, known.stream_id) == ("a", None, "b")


def test_open_streams_are_those_that_have_not_ended() -> None:
    decoder = Decoder()
    for raw in (start_frame("a"), start_frame("b"), chunk_frame("a", "x"), end_frame("a")):
        decoder.decode(raw)
    assert list(decoder.open_streams) == ["b"]
    assert decoder.open_streams["b"].stream_id == "b"


@pytest.mark.parametrize(
    "raw",
    [
        chunk_frame("never-started", "x"),
        b'{"kind":"chunk","data":"x"}',
        start_frame(""),
        b'{"kind":"datastream-start","data":{"no":"text"},"channel":"c","topic":"t"}',
        b'{"kind":"datastream-start","data":"s","topic":"t"}',
        frame(1, channel=""),
        frame(1, topic=""),
        b'{"kind":"run","data":1}',
        b'{"data":1,"channel":"c","topic":"t"}',
        b'{"kind":3,"data":1,"channel":"c","topic":"t"}',
        b'{"kind":"data","data":1,"channel":"c","topic":"t"',
        b'{"kind":"data","data":1,"channel":["c"],"topic":"t"}',
        b'{"kind":"data","data":01,"channel":"c","topic":"t"}',
        b'{"kind":"data","data":"\xff","channel":"c","topic":"t"}',
        b"",
        b"[]",
        b"null",
        b'"data"',
        b"42",
        b"[" * 100_000,
        b'{"kind":"data","channel":"c","topic":"t","data":' + b"[" * 100_000,
        *(frame(1, kind=kind) for kind in ("step", "ping", "pong", "event", "sub", "unsub", "gap", "")),
    ],
)
def test_what_no_subscriber_gets(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "inngest_realtime.protocol")
    assert Decoder().decode(raw) is None
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "Dropped" in caplog.text
    assert len(caplog.text) < 1_000


def test_a_stream_that_starts_twice_starts_once() -> None:
    messages = decoded(start_frame("a"), chunk_frame("a", "x"), start_frame("a"), chunk_frame("a", "y"))
    assert [(m.kind, m.index) for m in messages] == [("datastream-start", 0), ("chunk", 0), ("chunk", 1)]


def test_a_chunk_that_is_not_text_is_dropped() -> None:
    assert len(decoded(start_frame("a"), b'{"kind":"chunk","stream_id":"a","data":{"x":1}}')) == 1


def test_run_messages_may_lack_a_topic() -> None:
    (envelope,) = decoded(b'{"kind":"run","data":{"status":"Completed"},"channel":"01RUN"}')
    assert (envelope.kind, envelope.channel, envelope.topic) == ("run", "01RUN", "")


def test_the_oldest_of_too_many_streams_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_OPEN_STREAMS", 2)
    decoder = Decoder()
    for name in ("a", "b", "c"):
        decoder.decode(start_frame(name))
    assert list(decoder.open_streams) == ["b", "c"]
    assert decoder.decode(chunk_frame("a", "x")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb'"\ud800"', "�"),
        (rb'"\udfff tail"', "� tail"),
        (rb'"\ud83d\ude80"', "🚀"),
        (rb'"\ud83d\ud83d\ude80"', "�🚀"),
        (rb'"\\ud800"', r"\ud800"),
        (rb'"\\\ud800"', "\\�"),
        (rb'"\uD800x\uDC00"', "�x�"),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: bytes, expected: str) -> None:
    (envelope,) = decoded(b'{"kind":"data","data":%b,"channel":"c","topic":"t"}' % text)
    assert json.loads(bytes(envelope.data)) == expected


def test_a_frame_may_be_a_bytearray() -> None:
    envelope = Decoder().decode(bytearray(frame({"x": 1})))
    assert isinstance(envelope, Envelope)
    assert bytes(envelope.data) == b'{"x": 1}'.replace(b" ", b"")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = ["kind", "data", "channel", "topic", "created_at", "env_id", "run_id", "fn_id", "metadata", "stream_id"]
KINDS = ["data", "run", "datastream-start", "datastream-end", "chunk", "closing", "ping", "step"]
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={key: JSON | st.just("s") for key in [*KEYS, "(index)", "(stream)", "(identity)"]}
    | {"kind": st.sampled_from(KINDS) | JSON},
)


def judge(decoder: Decoder, raw: bytes) -> None:
    found = decoder.decode(raw)
    if isinstance(found, Envelope):
        assert found.channel
        assert found.topic or found.kind == "run"
        assert found.kind in {"data", "run", "datastream-start", "datastream-end", "chunk"}
        assert len(found.identity) == 11
        if found.kind != "datastream-end":
            assert (found.stream_id is not None) == (found.kind in {"datastream-start", "chunk"})
        json.loads(bytes(found.data))
    else:
        assert found is None or found == CLOSING or isinstance(found, Unreadable)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_bytes_never_raise(frames: list[bytes]) -> None:
    decoder = Decoder()
    for raw in frames:
        judge(decoder, raw)


@given(st.lists(ENVELOPES, max_size=8))
def test_arbitrary_envelopes_never_raise(envelopes: list[dict[str, Any]]) -> None:
    decoder = Decoder()
    for envelope in envelopes:
        judge(decoder, json.dumps(envelope).encode())


@given(st.sampled_from(recorded("pipeline.jsonl")), st.data())
def test_damaged_frames_never_raise(raw: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    judge(Decoder(), raw[:start] + data.draw(st.binary(max_size=6)) + raw[end:])


@given(JSON.filter(lambda value: value == value), st.text(min_size=1), st.text(min_size=1))
def test_every_payload_survives(payload: Any, channel: str, topic: str) -> None:
    decoder = Decoder()
    envelope = decoder.decode(frame(payload, channel=channel, topic=topic))
    text = json.dumps(payload)
    if isinstance(envelope, Envelope) and "\\ud" not in json.dumps([payload, channel, topic]):
        assert (envelope.channel, envelope.topic) == (channel, topic)
        assert json.loads(bytes(envelope.data)) == json.loads(text)
    else:
        # NaN and Infinity are not JSON, however much the standard library writes them.
        assert "NaN" in text or "Infinity" in text or "\\ud" in json.dumps([payload, channel, topic])


def test_client_frames() -> None:
    assert subscribe_frame("a.b.c") == '{"kind":"sub","data":"a.b.c"}'
    assert unsubscribe_frame([("c", "t"), ("ü", "u")], env_id=ENV) == (
        '{"kind":"unsub","data":[{"kind":"run","channel":"c","name":"t","env_id":"' + ENV + '"},'
        '{"kind":"run","channel":"\\u00fc","name":"u","env_id":"' + ENV + '"}]}'
    )


def nested(depth: int) -> bytes:
    return b'[{"a":' * (depth // 2) + b"1" + b"}]" * (depth // 2)


@pytest.mark.parametrize(
    "data",
    [
        nested(502),
        nested(1_100),
        nested(20_000),
        b'"\xff"',
        b'{"a":["\xc3"]}',
        b"1" * 5_000,
        b'{"a":[-' + b"9" * 4_301 + b"]}",
    ],
    ids=lambda data: f"{data[:6]!r} {len(data)}",
)
def test_a_payload_that_no_reader_could_decode_is_told_with_its_channel(data: bytes) -> None:
    raw = frame(0, channel='a"b', topic="t").replace(b'"data":0', b'"data":' + data)
    assert Decoder().decode(raw) == Unreadable('a"b', "t")
    # What the publisher writes into the payload says nothing about where it belongs.
    spoofed = raw.replace(b'"data":', b'"data":[{"created_at":"","channel":"x","topic":"y"},').replace(
        b',"created_at":"2026', b'],"created_at":"2026'
    )
    assert Decoder().decode(spoofed) == Unreadable('a"b', "t")


@pytest.mark.parametrize(
    "data",
    [
        nested(498),
        b"[" + b",".join([nested(8)] * 1_000) + b"]",
        b'"' + b"[" * 5_000 + b'\\"' + b"9" * 5_000 + b'"',
        b"9" * 4_300,
        b"[0." + b"3" * 5_000 + b"]",
        b"1e400",
    ],
    ids=lambda data: f"{data[:6]!r} {len(data)}",
)
def test_a_payload_that_only_looks_alike_is_delivered(data: bytes) -> None:
    envelope = Decoder().decode(frame(0).replace(b'"data":0', b'"data":' + data))
    assert isinstance(envelope, Envelope)
    assert bytes(envelope.data) == data
    assert Message(envelope).data is not None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_json_can_say_is_delivered(value: object) -> None:
    assert isinstance(Decoder().decode(frame(value)), Envelope)
