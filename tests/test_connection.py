"""One connection, without a socket: what it holds, delivers and ignores, how far it reads ahead, how it ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from inngest_fake import CLOSING, FakeInngest, ignore
from inngest_realtime_core import AuthenticationError, UnexpectedResponseError, UnreachableError
from inngest_realtime_core._upstream.connection import Connection, Liveness
from inngest_realtime_core._upstream.throttle import Throttle
from inngest_realtime_core._upstream.transport import HandshakeError
from inngest_realtime_core.messages.envelope import Envelope
from talk import eventually, soon
from wire import frame


def data(envelope: Envelope) -> int:
    return int(bytes(envelope.data))


async def test_what_comes_before_delivery_is_held_and_comes_first() -> None:
    connection, transport = await FakeInngest().connection()
    seen: list[int] = []
    assert connection.delivery == "holding"
    transport.bring(frame(1), frame(2))
    await eventually(lambda: connection.handled == 2)
    connection.deliver(lambda envelope: seen.append(data(envelope)))
    assert seen == [1, 2]
    transport.bring(frame(3))
    await eventually(lambda: seen == [1, 2, 3])
    connection.ignore()
    assert connection.delivery == "ignoring"
    transport.bring(frame(4))
    await eventually(lambda: connection.handled == 4)
    assert seen == [1, 2, 3]
    await connection.close()


async def test_the_backlog_is_bounded_and_nothing_of_it_is_lost() -> None:
    """Beyond 8,192 frames that wait the socket is not read; it is again once they have been handled."""
    connection, transport = await FakeInngest().connection()
    seen: list[int] = []
    connection.deliver(lambda envelope: seen.append(data(envelope)))
    transport.bring(*(frame(n) for n in range(9_000)))
    await asyncio.sleep(0)
    assert len(seen) == 256
    assert transport.log[-1] == "pause"
    assert connection.accepted == 9_000
    await eventually(lambda: len(seen) == 9_000)
    assert transport.log.count("pause") == transport.log.count("resume") == 1
    await connection.close()


async def test_a_few_frames_never_pause_the_reading() -> None:
    connection, transport = await FakeInngest().connection()
    connection.deliver(lambda envelope: None)
    transport.bring(*(frame(n) for n in range(1_000)))
    await eventually(lambda: connection.handled == 1_000)
    assert "pause" not in transport.log
    await connection.close()


async def test_a_reader_that_is_behind_is_waited_for_between_two_messages() -> None:
    throttle = Throttle()

    class Slow:
        is_behind = True

        def caught_up(self) -> None:
            pass

        given_up = caught_up

    reader = Slow()
    connection, transport = await FakeInngest().connection(throttle)
    seen: list[int] = []

    def deliver(envelope: Envelope) -> None:
        seen.append(data(envelope))
        if len(seen) == 1:
            throttle.behind.append(reader)

    connection.deliver(deliver)
    transport.bring(frame(1), frame(2))
    await asyncio.sleep(0.005)
    assert seen == [1]
    reader.is_behind = False
    await eventually(lambda: seen == [1, 2])
    await connection.close()


async def test_what_it_brought_is_delivered_before_it_is_lost() -> None:
    changes: list[tuple[bool, int]] = []
    seen: list[int] = []
    inngest = FakeInngest()
    connection = Connection(
        on_change=lambda: changes.append((connection.lost, len(seen))),
        on_undelivered=ignore,
        liveness=Liveness(),
        throttle=Throttle(),
        open_transport=inngest.open_transport,
    )
    await connection.open("ws://inngest.test/v1/realtime/connect", await inngest.mint([("c", "t")]))
    connection.deliver(lambda envelope: seen.append(data(envelope)))
    inngest.transports[0].bring(*(frame(n) for n in range(600)))
    inngest.transports[0].end()
    assert not connection.lost
    await eventually(lambda: connection.lost)
    assert changes == [(True, 600)]
    await connection.close()


async def test_closing_is_noticed_and_is_no_message() -> None:
    connection, transport = await FakeInngest().connection()
    seen: list[int] = []
    connection.deliver(lambda envelope: seen.append(data(envelope)))
    transport.bring(CLOSING, frame(1))
    await eventually(lambda: seen == [1])
    assert connection.closing
    assert connection.handled == 2
    await connection.close()


async def test_a_ping_that_gets_no_pong_ends_the_connection() -> None:
    connection, transport = await FakeInngest().connection(ping_timeout=0.02)
    transport.silent = True
    with pytest.raises(UnreachableError, match=r"no pong came within 0\.02 s"):
        await connection.confirm()
    await eventually(lambda: connection.lost)
    await connection.close()


async def test_the_keepalive_notices_a_silent_peer() -> None:
    began = time.monotonic()
    connection, transport = await FakeInngest().connection(ping_interval=0.02, ping_timeout=0.02)
    await eventually(lambda: transport.log.count("ping") >= 3)
    assert not connection.lost
    transport.silent = True
    await eventually(lambda: connection.lost)
    assert time.monotonic() - began < 0.5
    await connection.close()


async def test_a_frame_that_is_too_large_is_told_and_left_out() -> None:
    told: list[tuple[int, str | None]] = []
    inngest = FakeInngest()
    connection, _ = await inngest.dialer().dial(
        [("c", "t")],
        on_change=lambda: None,
        on_undelivered=lambda found, size: told.append((size, found and found.topic)),
    )
    seen: list[Envelope] = []
    connection.deliver(seen.append)
    large = frame("x" * 4 * 1024 * 1024)
    inngest.transports[0].bring(large, frame(1))
    await eventually(lambda: len(seen) == 1)
    assert told == [(len(large), "t")]
    await connection.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (403, AuthenticationError), (200, UnexpectedResponseError), (None, UnreachableError)],
)
async def test_what_a_failed_handshake_means(status: int | None, kind: type[Exception]) -> None:
    inngest = FakeInngest()
    inngest.connect_failures = [HandshakeError("did something", status=status)]
    with pytest.raises(kind) as caught:
        await inngest.connection()
    assert caught.value.status == status  # type: ignore[attr-defined]
    assert caught.value.__context__ is None  # it may hold the request


async def test_a_closed_connection_takes_nothing_more() -> None:
    connection, transport = await FakeInngest().connection()
    await connection.close()
    with pytest.raises(UnreachableError):
        await connection.send("{}")
    with pytest.raises(UnreachableError):
        await connection.confirm()
    assert transport.sent == []
    await connection.close()


async def test_a_pong_that_fails_with_its_connection_proves_nothing() -> None:
    connection, transport = await FakeInngest().connection(ping_timeout=60)
    transport.silent = True
    transport.log.clear()
    confirming = asyncio.create_task(connection.confirm())
    await eventually(lambda: transport.log == ["ping"])
    transport.end()
    with pytest.raises(UnreachableError):
        await soon(confirming)
    await connection.close()


async def test_the_keepalive_ends_with_its_connection() -> None:
    connection, _ = await FakeInngest().connection()
    assert len(asyncio.all_tasks()) == 2
    await connection.close()
    assert len(asyncio.all_tasks()) == 1
