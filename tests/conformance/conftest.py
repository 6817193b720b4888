from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator

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
    with running(case, inngest.url, CONFORMANCE_HEARTBEAT=HEARTBEAT) as server:
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
