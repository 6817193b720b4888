"""What the applications of `site.py` themselves cost for each event: no server, no socket, 200 idle browsers.

The rest of what an event costs, uvicorn and the kernel, is the same for all of them, and the larger part.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final

from starlette.applications import Starlette

from .firehose import Firehose
from .report import Figure, at_least, only
from .site import APPLICATIONS, PATH

__all__ = ["run"]

CLIENTS: Final = 200
ROUNDS: Final = 9
MESSAGES: Final = 100  # in each round, one at a time

Message = MutableMapping[str, Any]


class _Browsers:
    """ASGI's other side: takes what an application sends, and counts events."""

    def __init__(self) -> None:
        self.opened = 0
        self.all_open = asyncio.Event()
        self.wanted = 0
        self.complete = asyncio.Event()
        self.gone = asyncio.Event()

    async def send(self, message: Message) -> None:
        body: bytes = message.get("body", b"")
        if self.opened < CLIENTS and (b"event: ready" in body or b": open" in body):
            self.opened += 1
            if self.opened == CLIENTS:
                self.all_open.set()
        elif b"data: " in body:
            self.wanted -= 1
            if self.wanted == 0:
                self.complete.set()

    def receive(self) -> Callable[[], Awaitable[Message]]:
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        return receive


def run() -> list[Figure]:
    costs: dict[str, list[float]] = {name: [] for name in APPLICATIONS}
    with Firehose(MESSAGES) as inngest:
        for _ in range(2):
            for name, make in APPLICATIONS.items():
                costs[name] += asyncio.run(_measure(make(inngest.url), inngest))
    cost = {name: statistics.median(values) for name, values in costs.items()}
    return [
        *(only(f"{name}", value * 1e6, "us", "CPU for each event and client") for name, value in cost.items()),
        at_least("ours / starlette", cost["starlette"] / cost["ours"], 1.0),
        at_least("ours / sse-starlette", cost["sse-starlette"] / cost["ours"], 2.5),
    ]


async def _measure(app: Starlette, inngest: Firehose) -> list[float]:
    browsers = _Browsers()
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    costs: list[float] = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        requests = [asyncio.create_task(app(dict(scope), browsers.receive(), browsers.send)) for _ in range(CLIENTS)]
        await browsers.all_open.wait()
        for round_ in range(ROUNDS + 1):
            started = time.process_time()
            for number in range(MESSAGES):
                browsers.complete.clear()
                browsers.wanted = CLIENTS
                inngest.fire(number, 1)
                await browsers.complete.wait()
            if round_:
                costs.append((time.process_time() - started) / MESSAGES / CLIENTS)
        browsers.gone.set()
        await asyncio.wait(requests)
    return costs
