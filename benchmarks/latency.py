"""From publish to browser: how long a message takes to an SSE client, beside a bare `websockets` client's.

The embedded server, the application under uvicorn, and the publisher with both clients are three processes. Every
message goes to both clients, so both see the same server and the same machine.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import Final

import httpx
from websockets.asyncio.client import connect

from .firehose import CHANNEL, TOPIC
from .inngest import Inngest
from .report import Figure, only
from .site import PATH

__all__ = ["run"]

MESSAGES: Final = 1_000
_INTERVAL: Final = 0.005  # seconds between two messages
_DEADLINE: Final = 10.0  # seconds


def run() -> list[Figure]:
    with Inngest() as inngest:
        command = [sys.executable, "-m", "benchmarks.site", "ours", inngest.url]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            sse, bare = asyncio.run(_measure(inngest.url, int(server.stdout.readline())))
        finally:
            server.terminate()
            server.wait()
    return [*_figures("SSE client", sse), *_figures("bare websockets client", bare)]


def _figures(name: str, seconds: list[float]) -> list[Figure]:
    cuts = statistics.quantiles(seconds, n=100)
    note = f"{len(seconds):,} messages, one every {_INTERVAL * 1000:.0f} ms at most"
    return [only(f"{name}, p50", cuts[49] * 1000, "ms", note), only(f"{name}, p99", cuts[98] * 1000, "ms", note)]


async def _measure(inngest: str, port: int) -> tuple[list[float], list[float]]:
    entries = [{"channel": CHANNEL, "name": TOPIC, "kind": "run"}]
    async with httpx.AsyncClient(base_url=f"{inngest}/v1/realtime/") as http:
        token = (await http.post("token", json=entries)).json()["jwt"]
        url = f"{inngest.replace('http', 'ws', 1)}/v1/realtime/connect?token={token}"
        async with connect(url) as websocket:
            await (await websocket.ping())
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"event: ready\n")
            await reader.readline()
            arrivals: tuple[list[float], list[float]] = ([], [])
            sent: list[float] = []

            def arrived(place: int, message: bytes | str) -> None:
                now = time.perf_counter()
                number: int = json.loads(message)["data"]["number"]
                arrivals[place].append(now - sent[number])

            async def by_sse() -> None:
                while len(arrivals[0]) < MESSAGES:
                    line = await reader.readline()
                    if line.startswith(b"data: "):
                        arrived(0, line[6:])

            async def by_websocket() -> None:
                while len(arrivals[1]) < MESSAGES:
                    arrived(1, await websocket.recv())

            readers = asyncio.gather(by_sse(), by_websocket())
            for number in range(MESSAGES):
                sent.append(time.perf_counter())
                await http.post(
                    "publish", params={"channel": CHANNEL, "topic": TOPIC}, json={"number": number, "text": "x" * 200}
                )
                await asyncio.sleep(_INTERVAL)
            await asyncio.wait_for(readers, _DEADLINE)
            writer.close()
    return arrivals
