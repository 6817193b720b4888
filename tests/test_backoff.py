from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise

import pytest

from inngest_realtime_core._upstream.backoff import Backoff, RetryGate
from inngest_realtime_core.subscriptions.sse import close_event


def ceilings(delays: Backoff, attempts: int) -> list[float]:
    """The largest of many draws per attempt, over fresh objects: close to the ceiling of each."""
    return [delays.next_delay() for _ in range(attempts)]


def test_delays_double_up_to_the_cap_with_full_jitter() -> None:
    samples = [ceilings(Backoff(base=1.0, cap=8.0), 6) for _ in range(400)]
    for attempt, ceiling in enumerate([1.0, 2.0, 4.0, 8.0, 8.0, 8.0]):
        drawn = [sample[attempt] for sample in samples]
        assert 0.97 * ceiling < max(drawn) <= ceiling
        assert min(drawn) < 0.03 * ceiling
        assert 0.4 * ceiling < sum(drawn) / len(drawn) < 0.6 * ceiling


def test_delays_stay_finite_for_ever() -> None:
    delays = Backoff(base=1.0, cap=8.0)
    assert all(delays.next_delay() <= 8.0 for _ in range(3_000))


def test_an_application_that_seeds_the_shared_generator_neither_sees_our_draws_nor_chooses_them() -> None:
    drawn: set[tuple[float, bytes]] = set()
    for _ in range(3):
        random.seed(7)
        before = random.getstate()
        drawn.add((Backoff().next_delay(), close_event()))
        assert random.getstate() == before
    assert len(drawn) == 3


def test_a_server_that_accepts_and_drops_does_not_reset_them() -> None:
    tenth: list[float] = []
    for _ in range(50):
        delays = Backoff(base=1.0, cap=1_000.0, settle=60.0)
        for _ in range(10):
            delays.opened()
            last = delays.next_delay()
        tenth.append(last)
    assert max(tenth) > 400.0


def test_a_connection_that_lived_resets_them() -> None:
    delays = Backoff(base=1.0, cap=1_000.0, settle=0.0)
    for _ in range(50):
        delays.opened()
        assert delays.next_delay() <= 1.0


async def test_the_retry_gate_lets_all_through_while_all_is_well() -> None:
    retry_gate = RetryGate(threshold=2)
    retry_gate.failed()
    await asyncio.wait_for(asyncio.gather(*(retry_gate.wait() for _ in range(100))), 0.5)
    assert not retry_gate.closed


async def test_a_closed_retry_gate_spaces_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RetryGate._SPACING[0] == 1.0  # seconds: one attempt a second at most
    monkeypatch.setattr(RetryGate, "_SPACING", (0.05, 0.1))
    retry_gate = RetryGate(threshold=2)
    retry_gate.failed()
    retry_gate.failed()
    assert retry_gate.closed
    began = time.monotonic()
    passed: list[float] = []

    async def attempt() -> None:
        await retry_gate.wait()
        passed.append(time.monotonic() - began)

    await asyncio.gather(*(attempt() for _ in range(4)))
    assert all(later - earlier >= 0.045 for earlier, later in pairwise(passed))


async def test_a_success_lets_everybody_go() -> None:
    retry_gate = RetryGate(threshold=1)
    retry_gate.failed()
    waiting = [asyncio.create_task(retry_gate.wait()) for _ in range(50)]
    await waiting[0]
    retry_gate.succeeded()
    # The one that sleeps at its turn may sleep to the end; nobody after it sleeps.
    await asyncio.wait_for(asyncio.gather(*waiting), 2.5)
