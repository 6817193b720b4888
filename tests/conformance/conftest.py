from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from conformance.client import Client
from conformance.servers import CASES, RunningServer, ServerCase, running
from inngest_realtime_devserver.server import DevServer

HEARTBEAT = "0.5"  # seconds: also what bounds the notice of a disconnect where nothing else does

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "departures: streams have to end soon after their clients have left")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of departures for servers that do not end streams soon after their clients have left."""
    left_out = [item for item in items if item.get_closest_marker("departures") and not _case_of(item).frees_streams]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Prints what the servers of a failed test have printed."""
    report: Any = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, RunningServer):
                report.sections.append((f"log of {name} ({value.case.name})", value.log[-20_000:]))
    return report


def _case_of(item: pytest.Item) -> ServerCase:
    assert isinstance(item, pytest.Function)
    return item.callspec.params["case"]


@pytest.fixture(scope="session", params=CASES, ids=[case.name for case in CASES])
def case(request: pytest.FixtureRequest) -> ServerCase:
    return request.param


@pytest.fixture(scope="session")
def inngest(case: ServerCase) -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture(scope="session")
def server(case: ServerCase, inngest: DevServer) -> Iterator[RunningServer]:
    # A rate that is reached on a slow machine, too.
    with running(case, inngest.url, CONFORMANCE_HEARTBEAT=HEARTBEAT, CONFORMANCE_RATE_PER_CLIENT="1") as server:
        yield server


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    async with Client(server.url) as client:
        yield client


@pytest.fixture
def run_id() -> str:
    """A value for a channel that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def number() -> int:
    """A number of a room that no other test uses."""
    return next(_numbers)
