"""Bytes from Inngest, ids from clients and what is kept in Redis: nothing of it raises where it is read."""

from __future__ import annotations

import base64
import json
import string
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from inngest_realtime_core._api.claims import read_claims
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._upstream.protocol import Decoder, Unreadable
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import Message
from wire import chunk_frame, frame, start_frame

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_GOOD = st.one_of(
    _JSON.map(frame),
    st.text(max_size=20).map(lambda text: chunk_frame("s", text)),
    st.just(start_frame("s")),
    st.sampled_from(["ping", "closing", "run", "sub", "nonsense", ""]).map(lambda kind: frame(1, kind=kind)),
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A frame in which some bytes were replaced, put in, or cut off."""
    raw = bytearray(draw(_GOOD))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


_NASTY = st.sampled_from(
    [
        frame("DEEP").replace(b'"DEEP"', b"[" * 1_100 + b"]" * 1_100),
        frame("DEEP").replace(b'"DEEP"', b'{"a":' * 9_000 + b"1" + b"}" * 9_000),
        frame("LONG").replace(b'"LONG"', b"1" * 5_000),
        frame("LONG").replace(b'"LONG"', b"-1e" + b"9" * 400),
        frame("BYTE").replace(b"BYTE", b"\xff\xfe"),
        frame("LAST").replace(b"}", b',"metadata":' + b"[" * 1_100 + b"]" * 1_100 + b"}"),
        frame("HALF").replace(b"HALF", b"\\ud800"),
        frame("LINE").replace(b'"LINE"', b"[1,\n\r\n2]"),
    ]
)


@given(st.lists(st.one_of(_GOOD, _damaged(), _NASTY, st.binary(max_size=40)), max_size=8))
def test_whatever_frames_come(frames: list[bytes]) -> None:
    """Each is a message that a reader can look at, or is left out, or told as unreadable: nothing is raised late."""
    decoder = Decoder()
    for raw in frames:
        result = decoder.decode(raw)
        if isinstance(result, Envelope):
            message: Message[Any] = Message(result)
            _ = message.data, message.metadata, message.created_at, repr(message)
            # What browsers get is JSON on one line.
            assert json.loads(message.to_json())["channel"] == message.channel
            assert not {*b"\r\n"} & {*message.to_json()}
            assert message.to_sse().count(b"\n\n") == 1
        else:
            assert result is None or isinstance(result, (Unreadable, str))


@given(st.binary(max_size=60) | _JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 20_000)
@example(b'{"topics":' + b"[" * 20_000)
@example(b'{"topics":[{"channel":1}],"exp":1e400,"iat":true}')
def test_whatever_claims_a_token_has(payload: bytes) -> None:
    """They are Inngest's, or of a token that somebody has handed in."""
    parts = (b'{"alg":"HS256"}', payload, b"x")
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    claims = read_claims(token)
    assert claims is None or isinstance(claims.topics, tuple)


_IDS = EventIds.of("signkey-prod-" + "ab" * 32)
# Of messages without a number, and of numbers: with no hole, and with one or two.
_NAMES = st.sampled_from([13, 12, 20, 28]).flatmap(
    lambda length: st.text(string.ascii_letters + string.digits + "_-", min_size=length, max_size=length)
)


def _id(offset: int, at: int, names: list[str]) -> str:
    return _IDS.encode("c", "abcdefgh", offset, at, {str(number): name for number, name in enumerate(names)})


@given(st.text(max_size=300))
def test_an_id_is_not_made_up(text: str) -> None:
    assert _IDS.decode("c", text) is None


@given(
    st.integers(0, 10**12 - 1),
    st.integers(0, 10**15 - 1),
    st.lists(_NAMES, max_size=12),
    st.integers(0, 400),
    st.characters(),
    st.sampled_from(["c", "d", ""]),
)
def test_an_id_is_not_changed(offset: int, at: int, names: list[str], where: int, character: str, channel: str) -> None:
    made = _id(offset, at, names)
    assert len(made) <= 200
    place = _IDS.decode("c", made)
    assert place is not None
    assert (place.offset, place.since) == (offset, at)
    where %= len(made)
    changed = made[:where] + character + made[where + 1 :]
    found = _IDS.decode(channel, changed)
    # The last character of the tag has two bits that mean nothing.
    assert found is None or (channel == "c" and (changed == made or (where == len(made) - 1 and found == place)))
