"""Seeds, figures, and the pieces that every test of the chaos suite uses."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hypothesis
import pytest

from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .proxy import Proxy

_SEED = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
_figures: list[tuple[str, dict[str, Any]]] = []
_numbers = itertools.count()

PING_INTERVAL = 0.3
PING_TIMEOUT = 0.3


def pytest_report_header() -> str:
    return f"chaos seed: {_SEED} (repeat with CHAOS_SEED={_SEED})"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _figures:
        return
    terminalreporter.section("chaos figures")
    terminalreporter.write_line(f"seed {_SEED}")
    for fault, values in _figures:
        shown = ", ".join(
            f"{name.replace('_', ' ')} {value:.3f}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
            for name, value in values.items()
        )
        terminalreporter.write_line(f"{fault}: {shown}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hypothesis draws from a generator of its own."""
    for item in items:
        test = getattr(item, "obj", None)
        if getattr(test, "is_hypothesis_test", False):
            hypothesis.seed(_SEED)(test)


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """The run's seed; backoff and jitter of the code under test draw from it as well."""
    state = random.getstate()
    random.seed(f"{_SEED} {request.node.nodeid}")
    yield _SEED
    random.setstate(state)


@pytest.fixture
def note() -> Callable[..., None]:
    """Record figures: they are printed when the run is over."""

    def _note(fault: str, **values: Any) -> None:
        _figures.append((fault, values))

    return _note


@pytest.fixture
def channel() -> str:
    """A channel of its own for each test."""
    return f"chaos:{os.getpid()}:{next(_numbers)}"


@pytest.fixture
async def proxy(server: DevServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def realtime(proxy: Proxy) -> AsyncIterator[Realtime]:
    async with Realtime(
        api_base_url=proxy.url, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT, linger=0.0
    ) as realtime:
        yield realtime
