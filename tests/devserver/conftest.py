from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inngest_realtime_devserver.server import DevServer

from .client import Client, fresh


@pytest.fixture
async def server() -> AsyncIterator[DevServer]:
    async with DevServer() as server:
        yield server


@pytest.fixture
async def client(server: DevServer) -> AsyncIterator[Client]:
    client = Client(server)
    async with client.http:
        yield client


@pytest.fixture
def channel() -> str:
    """A channel of its own for each test."""
    return fresh()
