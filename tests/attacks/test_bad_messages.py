"""A bad message costs itself, and is told: the next one comes, for everybody."""

from __future__ import annotations

import time
from typing import Annotated, Any

import httpx
import pytest
from pydantic import BaseModel, PlainSerializer

from inngest_realtime_core import Channel, Message, MessageError, PublishError, Realtime, topic
from inngest_realtime_core._upstream.protocol import Decoder, Unreadable
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh
from wire import frame, start_frame

BAD = {
    "deep": b"[" * 1_100 + b"]" * 1_100,
    "deep in many places": b"[" + b",".join([b"[" * 600 + b"]" * 600] * 20) + b"]",
    "bytes": b'"\xff\xfe"',
    "digits": b'{"a":' + b"7" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
async def test_what_cannot_be_decoded_is_a_gap(
    server: DevServer, realtime: Realtime, channel: str, body: bytes
) -> None:
    told: list[Exception] = []
    url = f"{server.url}/v1/realtime/publish"
    async with realtime.subscribe(channel=channel, topics=["t"], on_error=told.append) as subscription:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(url, params={"channel": channel, "topic": "t"}, content=body)
            assert answer.status_code == 200
        await server.publish(channel, "t", "next")
        first = await subscription.receive(timeout=5)
        assert first is not None
        if first.kind == "gap":
            assert first.data.reason == "unreadable"
            await eventually(lambda: len(told) == 1)
            assert isinstance(told[0], MessageError)
            first = await subscription.receive(timeout=5)
            assert first is not None
        else:
            # What is not JSON is passed on as a text, by Inngest itself.
            assert isinstance(first.data, str)
            if first.data != "next":
                first = await subscription.receive(timeout=5)
                assert first is not None
        assert first.data == "next"


DEEP = b"[" * 1_100 + b"]" * 1_100


def envelope(channel: str, **changed: bytes) -> bytes:
    """A frame with some of its values replaced, or more behind them."""
    values = {"kind": b'"data"', "data": b"1", "created_at": b'"2026-11-24T13:20:17Z"'}
    values |= {"channel": b'"%b"' % channel.encode(), "topic": b'"t"'} | changed
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in values.items()) + b"}"


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({"metadata": DEEP}, None),
        ({"data": DEEP, "unheard_of": DEEP}, None),
        ({"kind": b'"run"', "data": DEEP}, 1),
        ({"kind": b'"datastream-start"', "data": DEEP}, 1),
        ({"created_at": b"5"}, 1),
        ({"run_id": b"[]"}, 1),
        ({"topic": b"5"}, None),
    ],
)
async def test_an_envelope_that_is_not_as_it_should_be(
    server: DevServer, realtime: Realtime, channel: str, changed: dict[str, bytes], missed: int | None
) -> None:
    """Metadata that came last was one level too deep for all of its connection, which read no further."""
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await server.inject(channel, "t", envelope(channel, **changed))
        await server.publish(channel, "t", "next")
        gap = await subscription.receive(timeout=5)
        assert gap is not None
        assert (gap.kind, gap.data.reason, gap.data.missed) == ("gap", "unreadable", missed)
        after = await subscription.receive(timeout=5)
        assert after is not None
        assert after.data == "next"


class Measured(BaseModel):
    value: float
    note: str | None = None


class Gauge(Channel, name="gauge:{name_of}"):
    name_of: str
    value = topic(float)
    measured = topic(Measured)


@pytest.mark.parametrize("huge", ["1e400", "-1e400", "9" * 400 + ".0"])
async def test_a_number_beyond_all_floats(server: DevServer, realtime: Realtime, huge: str) -> None:
    """An infinity in Python, which JSON cannot say: a browser would get null where a number is declared."""
    gauge = Gauge(name_of=fresh().replace(":", "-"))
    told: list[Exception] = []
    async with realtime.subscribe(channel=gauge, topics=["value", "measured"], on_error=told.append) as subscription:
        events = subscription.get_event_stream(heartbeat=60)
        await server.publish(gauge.name, "value", huge.encode())
        await server.publish(gauge.name, "measured", f'{{"value":{huge}}}'.encode())
        await server.publish(gauge.name, "measured", b'{"value":1e300,"note":"1e400"}')
        await server.publish(gauge.name, "measured", b'{"value":1e200}')
        text = b""
        while b"1e+200" not in text and b"1e200" not in text:
            text += await anext(events)
        assert text.count(b"data: {") == 3  # one of them is the preamble
        assert b'"note":"1e400"' in text
        await eventually(lambda: len(told) == 2)
        await events.aclose()


@pytest.mark.parametrize("kind", ["data", "run", "datastream-start"])
@pytest.mark.parametrize("where", ["data", "metadata"])
@pytest.mark.parametrize("bad", [b"1" * 5_000, b"[" * 700 + b"]" * 700], ids=["digits", "deep"])
def test_nothing_is_raised_late(kind: str, where: str, bad: bytes) -> None:
    raw = frame("s", kind=kind)
    if where == "data":
        raw = raw.replace(b'"data":"s"', b'"data":' + bad)
    else:
        raw = raw.replace(b'"created_at"', b'"metadata":{"a":' + bad + b'},"created_at"')
    assert isinstance(Decoder().decode(raw), Unreadable)


@pytest.mark.parametrize("depth", [400, 499, 600, 990])
def test_many_deep_places_are_looked_at_once(depth: int) -> None:
    """They were peeled level by level: half a mebibyte took seconds on the event loop."""
    one = b"[" * depth + b"]" * depth
    raw = frame("s").replace(b'"s"', b"[" + b",".join([one] * (500_000 // len(one))) + b"]")
    began = time.process_time()
    result = Decoder().decode(raw)
    assert time.process_time() - began < 0.5
    assert isinstance(result, Unreadable) == (depth >= 500)


def test_a_stream_that_is_named_by_a_mebibyte_is_not_followed() -> None:
    """Ten thousand are, on each connection."""
    decoder = Decoder()
    decoder.decode(start_frame("x" * 1_000_000))
    assert not decoder.open_streams
    decoder.decode(start_frame("x" * 200))
    assert len(decoder.open_streams) == 1


def _refuse(value: str) -> str:
    if value == "cursed":
        raise RuntimeError("no JSON form")
    return value


class Cursed(Channel, name="cursed:{job}"):
    job: str
    words = topic(Annotated[str, PlainSerializer(_refuse)])


async def test_a_message_without_a_json_form_ends_no_stream(server: DevServer, realtime: Realtime) -> None:
    job = Cursed(job=fresh().replace(":", "-"))
    told: list[Exception] = []
    async with realtime.subscribe(channel=job, topics=["words"], on_error=told.append) as subscription:
        events = subscription.get_event_stream(heartbeat=60)
        for word in ("before", "cursed", "after"):
            await server.publish(job.name, "words", word)
        text = b""
        while b"after" not in text:
            text += await anext(events)
        assert b"before" in text
        assert b'"data":"cursed"' not in text
        await eventually(lambda: len(told) == 1)
        # Who comes back, while it is still in the window, gets the others as well.
        after = text.split(b"id: ")[1].split(b"\n")[0].decode()
        await events.aclose()
        again = subscription.get_event_stream(heartbeat=60, last_event_id=after)
        text = b""
        while b"after" not in text:
            text += await anext(again)
        assert b'"data":"cursed"' not in text
        await again.aclose()


class Loose(Channel, name="loose:{job}"):
    job: str
    anything = topic(dict[str, Any])


@pytest.mark.parametrize(
    "value",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": [b"\xff"]},
        {"a": {1: 2}},
        {"a": {1: 2, "1": 3}},
        {"a": {(1, 2): 3}},
        {"a": "\ud800"},
        {"a": object()},
    ],
    ids=["nan", "infinity", "bytes", "key", "keys_that_collide", "tuple_as_key", "surrogate", "object"],
)
async def test_publish_refuses_what_json_cannot_say(realtime: Realtime, channel: str, value: Any) -> None:
    job = Loose(job=channel.replace(":", "-"))
    for call in (
        lambda: realtime.publish(job.anything, value),
        lambda: realtime.publish((channel, "t"), value),
    ):
        with pytest.raises(PublishError):
            await call()


async def test_publish_refuses_deep_nesting(realtime: Realtime, channel: str) -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    job = Loose(job=channel.replace(":", "-"))
    for target, value in ((job.anything, {"a": deep}), ((channel, "t"), deep)):
        with pytest.raises(PublishError):
            await realtime.publish(target, value)  # type: ignore[arg-type]


def test_a_message_says_its_data_in_a_short_line() -> None:
    envelope = Decoder().decode(frame("x" * 500_000))
    assert len(repr(Message(envelope))) < 500  # type: ignore[arg-type]
