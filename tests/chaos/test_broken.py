"""Connections that break: ended, reset, swallowed, frozen."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .conftest import PING_INTERVAL, PING_TIMEOUT
from .ledger import Witness, until
from .proxy import Proxy

Fault = Callable[[Proxy, DevServer], None]

FAULTS: dict[str, tuple[Fault, float]] = {
    "FIN": (lambda proxy, server: proxy.cut(), 0.25),
    "RST": (lambda proxy, server: proxy.reset(), 0.25),
    "EOF of the server": (lambda proxy, server: server.drop_connections(), 0.25),
    "half-open: server frozen": (lambda proxy, server: server.freeze_connections(), PING_INTERVAL + PING_TIMEOUT),
    "half-open: proxy swallows both ways": (
        lambda proxy, server: proxy.blackhole(),
        PING_INTERVAL + PING_TIMEOUT,
    ),
    "half-open: swallowed towards the server": (
        lambda proxy, server: proxy.blackhole(down=False),
        PING_INTERVAL + PING_TIMEOUT,
    ),
    "half-open: swallowed towards us": (
        lambda proxy, server: proxy.blackhole(up=False),
        PING_INTERVAL + PING_TIMEOUT,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_break(
    fault: str, channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    inflict, detected_within = FAULTS[fault]
    states: list[tuple[str, float]] = []
    subscription = await realtime.subscribe(
        channel=channel, topics=["t"], on_state=lambda state: states.append((state, time.monotonic()))
    )
    witness = Witness(subscription).start()
    for n in range(10):
        await server.publish(channel, "t", {"n": n})
    await until(lambda: witness.last("t") == 9)

    began = time.monotonic()
    inflict(proxy, server)
    await until(lambda: subscription.state == "reconnecting")
    for n in range(10, 20):
        await server.publish(channel, "t", {"n": n})
    await until(lambda: subscription.state == "open")
    for n in range(20, 30):
        await server.publish(channel, "t", {"n": n})
    await until(lambda: witness.last("t") == 29)

    detect = next(at for state, at in states if state == "reconnecting") - began
    recover = next(at for state, at in reversed(states) if state == "open") - began
    verdict = witness.judge({"t": 30})
    note(fault, detect_s=detect, recover_s=recover, **vars(verdict))
    assert detect <= detected_within + 0.25
    assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0)
    assert witness.gaps == ["reconnect"]
    assert [state for state, _ in states] == ["connecting", "open", "reconnecting", "open"]
    assert realtime.stats().reconnects == 1
    await witness.stop()
