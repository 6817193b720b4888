from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from conformance.client import Client
from conformance.servers import CASES, RunningServer, ServerCase, running
from inngest_realtime_core.devserver import DevServer

HEARTBEAT = "0.5"  # seconds: also what bounds the notice of a disconnect where nothing else does

_numbers = itertools.count(1)


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
