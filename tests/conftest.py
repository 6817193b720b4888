"""What most tests begin with: an embedded Inngest, a `Realtime` that talks to it, and a channel of their own."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypothesis import settings

from inngest_realtime_core import Realtime
from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline, fresh

# Times vary with the machine, and a failure is printed with what reproduces it.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

# A shell that starts something in the background has it ignore Ctrl-C, and so would the servers that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of this test: no line is left out because another test has written one of its kind a moment ago."""
    for name, module in list(sys.modules.items()):
        log = vars(module).get("_log") if name.startswith("inngest_realtime") else None
        if isinstance(log, ThrottledLog):
            cast("Any", log)._written.clear()
    return caplog


@pytest.fixture
async def server() -> AsyncIterator[DevServer]:
    async with DevServer() as server:
        yield server


@pytest.fixture
async def realtime(server: DevServer) -> AsyncIterator[Realtime]:
    """Keeps no channel after its last reader left: what it does is then seen at once."""
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        yield realtime


@pytest.fixture
def channel() -> str:
    """A channel of its own for each test."""
    return fresh()


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(run_id=fresh("run").replace(":", "-"))
