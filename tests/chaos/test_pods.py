"""A pod is taken away, as Kubernetes does it: what docs/deployment.md says of preStop, readiness and streams."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from pathlib import Path

import httpx
import pytest

from inngest_realtime_devserver import DevServer
from ports import free_port

from .fleet import Process, running
from .ledger import until
from .proxy import Proxy

STREAM = "/news/stream"
COMMANDS = {
    "uvicorn": ["-m", "uvicorn", "chaos.pod:app", "--host", "127.0.0.1", "--port"],
    "gunicorn": ["-m", "gunicorn", "chaos.pod:app", "--worker-class", "uvicorn_worker.UvicornWorker", "--bind"],
}


def pod(server: str, folder: Path, inngest: str) -> Process:
    port = free_port()
    address = str(port) if server == "uvicorn" else f"127.0.0.1:{port}"
    command = [sys.executable, *COMMANDS[server], address]
    return Process(
        f"http://127.0.0.1:{port}", command, folder / f"{port}.log", {"INNGEST_DEV": inngest}, "/openapi.json"
    )


class Service(Proxy):
    """Passes each connection on to one of its endpoints in turn, and asks no other where that one does not answer."""

    def __init__(self, *endpoints: Process) -> None:
        super().__init__(0)
        self.endpoints = endpoints
        self._turns = itertools.count()

    def next_target(self) -> tuple[str, int]:
        chosen = self.endpoints[next(self._turns) % len(self.endpoints)]
        return "127.0.0.1", int(chosen.url.rpartition(":")[2])

    def client(self) -> httpx.AsyncClient:
        """As a browser that opens a page: without a connection that is open already."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(base_url=self.url, limits=limits, trust_env=False, timeout=20)


async def newcomers(client: httpx.AsyncClient, number: int) -> list[str]:
    """What happens to so many who open a stream, each after the one before."""
    return [await open_stream(client) for _ in range(number)]


async def open_stream(client: httpx.AsyncClient) -> str:
    try:
        async with client.stream("GET", STREAM) as response:
            if response.status_code != 200:
                return str(response.status_code)
            return "ready" if "event: ready" in await anext(response.aiter_text()) else "no event"
    except httpx.TransportError as error:
        return type(error).__name__


async def watch(client: httpx.AsyncClient, begun: asyncio.Semaphore) -> list[str]:
    """The events of a page up to the end of its first stream, and whether it gets another one at once."""
    async with client.stream("GET", STREAM) as response:
        events: list[str] = []
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
                begun.release()
    return [*events, await open_stream(client)]  # without the delay that it was asked for


@pytest.mark.parametrize("server", COMMANDS)
async def test_a_pod_is_taken_away(server: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as inngest:
        url = inngest.enter_context(DevServer().in_thread()).url
        leaving, staying = pods = [pod(server, tmp_path, url) for _ in range(2)]
        async with Service(leaving, staying) as service, service.client() as client:
            async with running(*pods):
                begun = asyncio.Semaphore(0)
                pages = [asyncio.create_task(watch(client, begun)) for _ in range(6)]
                for _ in pages:
                    await begun.acquire()
                # preStop: the service has not been told yet, and the pod serves as before.
                assert await newcomers(client, 10) == ["ready"] * 10
                assert (await client.get(f"{leaving.url}/ready")).status_code == 204
                service.endpoints = (staying,)
                stopping = asyncio.create_task(leaving.stop())
                assert await newcomers(client, 10) == ["ready"] * 10
                await asyncio.wait_for(stopping, 5)
                await until(lambda: sum(page.done() for page in pages) >= 3)
                assert [page.result() for page in pages if page.done()] == [["ready", "closing", "ready"]] * 3
                inngest.close()
                assert (await client.get(f"{staying.url}/ready")).status_code == 204
            assert all("closing" in events for events in await asyncio.gather(*pages))


async def test_without_prestop_newcomers_are_turned_away(tmp_path: Path) -> None:
    """The reason for it: SIGTERM comes while the service still sends connections there."""
    with DevServer().in_thread() as inngest:
        pods = [pod("uvicorn", tmp_path, inngest.url) for _ in range(2)]
        async with Service(*pods) as service, service.client() as client, running(*pods):
            assert await newcomers(client, 2) == ["ready", "ready"]
            await pods[0].stop()
            assert set(await newcomers(client, 10)) > {"ready"}
