from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import sys
import threading
import uuid

import pytest

from conformance.client import Client
from conformance.servers import ServerCase, running
from inngest_realtime_core._shutdown.hypercorn import watch_hypercorn_shutdown
from inngest_realtime_devserver.server import DevServer

pytest.importorskip("hypercorn")


def hypercorn(port: int, workers: int) -> list[str]:
    address = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    return [sys.executable, "-m", "hypercorn", "conformance.apps.starlette:app", *address]


CASE = ServerCase("starlette-hypercorn", hypercorn)


# No workers: hypercorn serves in its own process then, which hears the signal itself.
@pytest.mark.parametrize("workers", [0, 1, 2])
async def test_hypercorn_stops_at_once_and_clients_are_told(workers: int) -> None:
    with DevServer().in_thread() as inngest, running(CASE, inngest.url, workers=workers) as server:
        async with Client(server.url) as client, contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(client.stream("pipeline/stream", runId=uuid.uuid4().hex))
                for _ in range(8)
            ]
            for stream in streams:
                await stream.next_block()
            stopping = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGTERM))
            endings = await asyncio.gather(*(stream.until_end() for stream in streams))
            took = await stopping
        # Left alone, hypercorn waits for 3 s and then cuts what is open.
        assert took < CASE.stops_within
        assert all(ending and ending[-1].retry is not None for ending in endings)
        assert "Traceback" not in server.log


def test_the_event_that_stops_a_worker_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is a process of multiprocessing, and the event is among the arguments that it was started with."""
    event, stopped = threading.Event(), threading.Event()
    monkeypatch.setattr(multiprocessing.current_process(), "_kwargs", {"shutdown_event": event}, raising=False)
    monkeypatch.setattr("inngest_realtime_core._shutdown.hypercorn._watching", set[int]())
    for _ in range(2):  # the first call counts
        watch_hypercorn_shutdown(stopped.set)
    assert not stopped.wait(0.1)
    event.set()
    assert stopped.wait(5)
