"""What comes while Redis is asked what was missed before it: bounded like all that waits."""

from __future__ import annotations

from typing import Any

import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_core._hub.recall import HeldMessages
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import store
from talk import eventually
from test_redis_replay import RedisServer, own, pytestmark, worker
from wire import message_of

__all__ = ["own", "pytestmark"]

HALF = "x" * 500_000


async def _cut_off(realtime: Realtime, server: DevServer) -> None:
    """Cuts the connection, and returns when there is another, on which nothing is handed on yet."""
    server.drop_connections()
    await eventually(lambda: server.stats().subscriptions == 0)
    await eventually(lambda: server.stats().subscriptions > 0)
    await eventually(lambda: realtime.stats().sockets == 1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than the tests wait: what they see cannot be the end of asking.
    monkeypatch.setattr(store, "_TIMEOUT", 12.0)


@pytest.mark.usefixtures("patient")
async def test_more_than_is_worth_holding_is_a_gap_at_once(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own) as one, one.subscribe(channel=channel, topics=["t"]) as subscription:
        with own.hung():
            await _cut_off(one, server)
            for _ in range(10):
                await server.publish(channel, "t", HALF)
            gap = await subscription.receive(timeout=5)
            assert gap is not None
            assert gap.kind == "gap"
            for _ in range(10):
                message = await subscription.receive(timeout=5)
                assert message is not None
                assert message.data == HALF


@pytest.mark.usefixtures("patient")
async def test_what_is_held_counts_in_the_total(
    server: DevServer, own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Envelope] = []
    add = HeldMessages.add

    def watched(self: HeldMessages, envelope: Envelope) -> None:
        add(self, envelope)
        came.append(envelope)

    monkeypatch.setattr(HeldMessages, "add", watched)
    channels = [f"held:{number}" for number in range(4)]
    async with worker(server, own, total_buffer_bytes=4_000_000) as one:
        for channel in channels:
            await one.subscribe(channel=channel, topics=["t"], on_message=_ignore)
        with own.hung():
            await _cut_off(one, server)
            held: list[int] = []
            for number in range(24):
                await server.publish(channels[number % 4], "t", HALF)
                await eventually(lambda count=number + 1: len(came) == count)
                held.append(one.stats().buffer_bytes)
            # Each counts as it comes, and twelve megabytes of them never are more than four.
            assert held[:4] == [len(came[0].data) * count for count in range(1, 5)]
            assert max(held) <= 4_000_000
            assert held[-1] > 1_000_000


def _ignore(message: Any) -> None: ...


def test_what_was_dropped_is_told() -> None:
    held = HeldMessages()
    held.drop(1)
    assert held.whole
    held.add(message_of("x"))
    assert held.held_bytes == 3
    held.drop(1)
    assert (held.held_bytes, held.envelopes, held.whole) == (0, [], False)
    for _ in range(1_025):
        assert not held.full
        held.add(message_of(1))
    assert held.full
