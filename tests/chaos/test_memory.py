"""What is not to stay behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .ledger import Witness, until
from .proxy import Proxy


async def test_no_token_stays(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """Tokens that have served are gone: no cache of URLs, no request, no exception keeps them."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    for round_ in range(3):
        if round_ % 2:
            server.reject_connects(503)
            connects = proxy.seen["connect"]
            proxy.cut()
            await until(lambda connects=connects: proxy.seen["connect"] > connects)
            server.reject_connects(None)
        else:
            proxy.cut()
        await until(lambda round_=round_: realtime.stats().reconnects == round_ + 1, timeout=30)
    gc.collect()
    # A string in a cache is not tracked by the collector; what holds it is.
    kept = {
        value.partition("token=")[2].partition(" ")[0]
        for holder in gc.get_objects()
        for value in gc.get_referents(holder)
        if type(value) is str and "token=eyJ" in value and 100 < len(value) < 10_000
    }
    # The server of the test, in the same process, may hold the last one.
    note("URLs with tokens left after 4 connections", tokens=len(kept))
    assert len(kept) <= 1
    await witness.stop()
