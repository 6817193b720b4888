"""What a network and a server do to bytes: late, in pieces, slow, too large, or no messages at all."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Annotated, Any

import anyio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator

from inngest_realtime_core._upstream.connection import Connection, Liveness
from inngest_realtime_core._upstream.protocol import MAX_SERVER_FRAME, Decoder
from inngest_realtime_core._upstream.throttle import Throttle
from inngest_realtime_core._upstream.transport import open_websocket
from inngest_realtime_core.channels.channel import Channel, topic
from inngest_realtime_core.errors import ConnectionLostError, FrameTooLargeError
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .ledger import Witness, until
from .proxy import Proxy


async def test_delay(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """A slow way delays and loses nothing: subscribed is only what Inngest has confirmed."""
    proxy.delay = 0.1
    began = time.monotonic()
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    subscribed = time.monotonic() - began
    for n in range(100):
        await server.publish(channel, "t", {"n": n})
    await until(lambda: witness.last("t") == 99)
    note("delay of 0.1 s each way", subscribed_s=subscribed, **vars(witness.judge({"t": 100})))
    assert witness.events == [("t", n) for n in range(100)]
    await witness.stop()


async def test_every_byte_alone(channel: str, proxy: Proxy, server: DevServer, note: Callable[..., None]) -> None:
    """Handshakes, frames and tokens may be split anywhere."""
    proxy.split = True
    # Bytes that travel alone take long, and a pong waits behind them.
    async with Realtime(api_base_url=proxy.url, linger=0.0) as realtime:
        witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
        for n in range(50):
            await server.publish(channel, "t", {"n": n, "text": "é€😀" * 20})
        await until(lambda: witness.last("t") == 49, timeout=30)
        note("frames split at every byte", **vars(witness.judge({"t": 50})))
        assert witness.events == [("t", n) for n in range(50)]
        await witness.stop()


async def test_throttled(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """A narrow way loses nothing while it still carries a ping in time."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    proxy.rate = 1_000_000
    for n in range(100):
        await server.publish(channel, "t", {"n": n, "text": "x" * 1_000})
    await until(lambda: witness.last("t") == 99)
    note("1 MB a second", **vars(witness.judge({"t": 100})))
    assert witness.events == [("t", n) for n in range(100)]
    await witness.stop()


async def test_slow_reader(channel: str, server: DevServer, note: Callable[..., None]) -> None:
    """Who reads slowly loses the oldest, is told, and slows nobody: not the other reader, not the server."""
    async with Realtime(api_base_url=server.url, buffer_size=100, linger=0.0) as realtime:
        slow = Witness(await realtime.subscribe(channel=channel, topics=["t"]), throttle=0.01).start()
        fast = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
        began = time.monotonic()
        for n in range(5_000):
            await server.publish(channel, "t", {"n": n, "text": "x" * 1_000})
            if n % 50 == 0:
                await until(lambda n=n: fast.last("t") >= n - 50)
        published = time.monotonic() - began
        await until(lambda: fast.last("t") == 4_999)
        await until(lambda: slow.last("t") == 4_999)
        note("slow reader", publishing_s=published, **vars(slow.judge({"t": 5_000})))
        note("fast reader beside it", **vars(fast.judge({"t": 5_000})))
        verdict = slow.judge({"t": 5_000})
        assert fast.events == [("t", n) for n in range(5_000)]
        assert verdict.lost > 3_000
        assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0)
        assert set(slow.gaps) == {"overflow"}
        assert realtime.stats().dropped == verdict.lost
        await slow.stop()
        await fast.stop()


async def test_oversized(channel: str, server: DevServer, realtime: Realtime, note: Callable[..., None]) -> None:
    """A frame of over 4 MiB is left out, and that is told; the connection and the next message are fine."""
    errors: list[Exception] = []
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"], on_error=errors.append)).start()
    await server.publish(channel, "t", {"n": 0})
    huge = {"kind": "data", "data": "x" * MAX_SERVER_FRAME, "created_at": "2026-01-01T00:00:00Z"}
    await server.inject(channel, "t", json.dumps({**huge, "channel": channel, "env_id": "", "topic": "t"}))
    await server.publish(channel, "t", {"n": 1})
    await until(lambda: witness.last("t") == 1)
    await until(lambda: errors)
    note("frame of 4 MiB", gaps=witness.gaps, reconnects=realtime.stats().reconnects)
    assert witness.events == [("t", 0), ("gap", "too-large"), ("t", 1)]
    assert isinstance(errors[0], FrameTooLargeError)
    assert (errors[0].channel, errors[0].topic) == (channel, "t")
    assert realtime.stats().reconnects == 0
    await witness.stop()


async def test_monstrous(channel: str, server: DevServer, realtime: Realtime, note: Callable[..., None]) -> None:
    """A frame of over 64 MiB ends the connection instead of filling the memory."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    await server.inject(channel, "t", b" " * (64 * 1024 * 1024 + 1))
    await until(lambda: realtime.stats().reconnects == 1)
    await server.publish(channel, "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    note("frame of 64 MiB", gaps=witness.gaps, reconnects=1)
    assert witness.events == [("gap", "reconnect"), ("t", 0)]
    await witness.stop()


def _explode(value: Any) -> Any:
    raise KeyError("an application's own mistake")


async def test_failing_callbacks_and_types(channel: str, server: DevServer, realtime: Realtime, proxy: Proxy) -> None:
    """What an application's types and callbacks raise harms one message, never the connection."""

    class Fragile(Channel, name="fragile:{id}"):
        id: str
        t = topic(Annotated[dict[str, int], AfterValidator(_explode)])

    name = channel.replace(":", "-")
    errors: list[Exception] = []

    def on_state(state: str) -> None:
        raise RuntimeError("an application's own mistake")

    fragile = await realtime.subscribe(channel=Fragile(id=name), on_error=errors.append, on_state=on_state)
    witness = Witness(await realtime.subscribe(channel=f"fragile:{name}", topics=["t"])).start()
    await server.publish(f"fragile:{name}", "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    proxy.cut()
    await until(lambda: realtime.stats().reconnects == 1)
    await server.publish(f"fragile:{name}", "t", {"n": 1})
    await until(lambda: witness.last("t") == 1)
    assert witness.events == [("t", 0), ("gap", "reconnect"), ("t", 1)]
    lost = [error for error in errors if isinstance(error, ConnectionLostError)]
    assert (len(lost), len(errors)) == (1, 3)
    await witness.stop()
    await fragile.close()


# -- fuzz --------------------------------------------------------------------------------------------------------------

_KINDS = st.sampled_from(
    ["data", "run", "step", "chunk", "datastream-start", "datastream-end", "closing", "ping", "event", "", "nope"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_IDS = st.sampled_from(["s1", "s2", ""])
_ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "kind": _KINDS | _JSON,
        "data": _IDS | _JSON,
        "channel": st.sampled_from(["c", ""]) | _JSON,
        "topic": st.sampled_from(["t", ""]) | _JSON,
        "created_at": st.just("2026-01-01T00:00:00Z") | _JSON,
        "stream_id": _IDS | _JSON,
        "run_id": _JSON,
        "metadata": _JSON,
        "(index)": _JSON,
        "(stream)": _JSON,
        "(identity)": _JSON,
    },
)


@st.composite
def _mutilated(draw: st.DrawFn) -> bytes:
    frame = bytearray(json.dumps(draw(_ENVELOPES)).encode())
    for _ in range(draw(st.integers(0, 4))):
        if frame:
            frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame)


_FRAMES = st.binary(max_size=80) | st.text(max_size=80).map(str.encode) | _mutilated()


@given(st.lists(_FRAMES, max_size=12))
@example([b"[" * 100_000])
@example([b'{"kind":"data","channel":"c","topic":"t","data":' + b"[" * 5_000 + b"]" * 5_000 + b"}"])
@example([b'{"kind":"data","channel":"c","topic":"t","data":"\\ud800"}'])
@settings(max_examples=1_000, deadline=None)
def test_fuzzed_decoder(frames: list[bytes]) -> None:
    """Whatever comes, the decoder raises nothing, and reads the next frame."""
    decoder = Decoder()
    for frame in frames:
        decoder.decode(frame)
    envelope = decoder.decode(b'{"kind":"data","data":1,"channel":"c","topic":"t"}')
    assert isinstance(envelope, Envelope)
    assert bytes(envelope.data) == b"1"


@given(st.lists(_FRAMES, max_size=30))
@example(
    [
        b'{"kind":"datastream-start","data":"s","channel":"c","topic":"t"}',
        b'{"kind":"run","data":{"stream":1},"channel":"c","topic":"t","stream_id":"s"}',
    ]
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_fuzzed_feed(frames: list[bytes]) -> None:
    """Whatever comes, a subscription goes on: through the reader, the streams, the window and the encoders."""

    async def run() -> None:
        async with DevServer() as server, Realtime(api_base_url=server.url, linger=0.0) as realtime:
            subscription = await realtime.subscribe(channel="c", topics=["t"])
            events = subscription.get_event_stream()
            await events.__anext__()
            for frame in frames:
                if _is_text(frame) and b"closing" not in frame:
                    await server.inject("c", "t", frame)
            await server.publish("c", "t", {"last": True})
            body = b""
            with anyio.fail_after(5):
                while b'"last":true' not in body:
                    body += await events.__anext__()
                async for message in subscription:
                    assert message.channel == "c"
                    assert json.loads(message.to_json())["kind"] == message.kind
                    if message.kind == "data" and message.data == {"last": True}:
                        break
            assert realtime.stats().reconnects == 0
            await events.aclose()

    asyncio.run(run())


def _is_text(frame: bytes) -> bool:
    # Others end a connection by the rules of WebSockets (1007), which is a fault of its own.
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True


async def test_not_even_text(channel: str, server: DevServer, realtime: Realtime, seed: int) -> None:
    """Frames that are not UTF-8 are passed over; the connection goes on."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    for _ in range(200):
        await server.inject(channel, "t", random.randbytes(random.randrange(1, 200)))
    await server.publish(channel, "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    assert witness.events == [("t", 0)]
    assert realtime.stats().reconnects == 0
    await witness.stop()


async def test_broken_frames_of_the_transport(
    channel: str, proxy: Proxy, realtime: Realtime, server: DevServer
) -> None:
    """Bytes that are no WebSocket at all end the connection, and a new one is made."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    for round_ in range(3):
        proxy.inject(random.randbytes(500))
        await until(lambda round_=round_: realtime.stats().reconnects == round_ + 1)
    await server.publish(channel, "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    assert witness.gaps == ["reconnect"] * 3
    await witness.stop()


async def test_reader_survives_its_listener() -> None:
    """A listener that raises loses its message and nothing else."""
    seen: list[bytes] = []

    def deliver(envelope: Envelope) -> None:
        seen.append(bytes(envelope.data))
        raise LookupError("a listener's mistake")

    def ignore(*_: object) -> None:
        pass

    connection = Connection(
        on_change=ignore,
        on_undelivered=ignore,
        liveness=Liveness(),
        throttle=Throttle(),
        open_transport=open_websocket,
    )
    connection.deliver(deliver)
    for n in range(3):
        connection.accept(b'{"kind":"data","data":%d,"channel":"c","topic":"t"}' % n)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert seen == [b"0", b"1", b"2"]
