"""A deployment in real processes: Inngest, Redis, workers of one application, nginx; and the pages that watch it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from conformance.servers import ROOT, START_TIMEOUT, TESTS
from inngest_realtime_core import RealtimeError
from ports import free_port

from .ledger import Verdict, judge, until

__all__ = [
    "NGINX",
    "SIGNING_KEY",
    "Page",
    "Process",
    "Traffic",
    "gunicorn",
    "inngest",
    "nginx",
    "settle",
    "uvicorn",
]

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
APP = "chaos.fleet_site:app"
TOPICS = ("a", "b")
SIGNING_KEY = "signkey-test-" + "0123456789abcdef" * 4


@dataclass
class Process:
    """A server process at an address.

    Attributes:
        url: Its address.
        command: Its command line.
        log: Where it prints to.
        environment: Its variables.
        ready: A path that it answers when it serves.
    """

    url: str
    command: Sequence[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    ready: str | None = "/stats"

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
        path = os.pathsep.join(map(str, (ROOT, ROOT / "integrations", TESTS)))
        with self.log.open("ab") as output:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                self.command,
                env={**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self.environment},
                cwd=TESTS,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if self.ready is None or (await client.get(self.url + self.ready)).status_code == 200:
                        return
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.command} did not start. It printed:\n{self.log.read_text()}")
                await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal and wait for the end; a process that does not end in 15 s is killed."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 15)
        for child in [process, *children] if process.poll() is None or number is signal.SIGKILL else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        await asyncio.to_thread(process.wait)

    def workers(self) -> list[psutil.Process]:
        """Its child processes."""
        return psutil.Process(self.pid).children()

    def busiest(self) -> psutil.Process:
        """The worker that has most connections."""
        return max(self.workers(), key=lambda worker: len(worker.net_connections("tcp")))


def inngest(directory: Path) -> Process:
    """The embedded server."""
    port = free_port()
    command = [sys.executable, "-m", "inngest_realtime_devserver", "--port", str(port)]
    return Process(
        f"http://127.0.0.1:{port}", command, directory / "inngest.log", {"INNGEST_SIGNING_KEY": SIGNING_KEY}, ready="/"
    )


def uvicorn(directory: Path, **environment: str) -> Process:
    """A worker of its own."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", APP, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--log-level", "info", "--timeout-graceful-shutdown", "5"]
    return Process(f"http://127.0.0.1:{port}", command, directory / f"uvicorn-{port}.log", environment)


def gunicorn(directory: Path, workers: int, **environment: str) -> Process:
    """uvicorn workers that gunicorn starts, replaces and stops."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", APP, "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    command += ["--worker-class", "uvicorn_worker.UvicornWorker", "--graceful-timeout", "5"]
    return Process(f"http://127.0.0.1:{port}", command, directory / "gunicorn.log", environment)


def nginx(directory: Path, upstreams: Sequence[Process]) -> Process:
    """nginx before workers. Where one does not answer, the next is asked at once, and none is left out afterwards."""
    assert NGINX is not None
    port = free_port()
    servers = " ".join(f"server {worker.url.removeprefix('http://')} max_fails=0;" for worker in upstreams)
    paths = " ".join(f"{name}_temp_path {directory}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log; worker_processes 1;\n"
        "events { worker_connections 512; }\n"
        f"http {{ access_log off; client_body_temp_path {directory}/body; {paths}\n"
        f"upstream app {{ {servers} }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://app; proxy_http_version 1.1;\n"
        'proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 15s; } } }\n'
    )
    command = [NGINX, "-c", str(directory / "nginx.conf"), "-p", str(directory), "-e", str(directory / "nginx.log")]
    return Process(f"http://127.0.0.1:{port}", command, directory / "nginx.out")


class Page:
    """An `EventSource`: it reads events, and comes back after the time that the server asks for, with the last id.

    Attributes:
        events: (topic, number), or ("gap", reason), in order.
        returns: How often it has come back.
        ready: How often a stream has begun.
    """

    def __init__(self, url: str, room: str) -> None:
        self._url = f"{url}/api/realtime/room/stream?id={room}&topics={','.join(TOPICS)}"
        self._id = ""
        self._retry = 1.0  # seconds
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self.room = room
        self.events: list[tuple[str, int | str]] = []
        self.returns = 0
        self.ready = 0

    def start(self) -> Page:
        self._task = asyncio.ensure_future(self._live())
        return self

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def cut(self) -> None:
        """Break the connection with a reset, in the middle of whatever it carries."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, ValueError):
                await self._read()
            await asyncio.sleep(self._retry * random.uniform(0.9, 1.1))
            self.returns += 1

    async def _read(self) -> None:
        url = httpx.URL(self._url)
        reader, self._writer = await asyncio.open_connection(url.host, url.port)
        try:
            head = f"GET {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.host}\r\nAccept: text/event-stream\r\n"
            head += f"Last-Event-ID: {self._id}\r\n" if self._id else ""
            self._writer.write(f"{head}\r\n".encode())
            status = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in status.split(b"\r\n")[0]:
                return  # nginx has nobody to ask, say
            buffer = b""
            while size := int(await reader.readline(), 16):
                buffer += await reader.readexactly(size)
                await reader.readexactly(2)
                *blocks, buffer = buffer.split(b"\n\n")
                for block in blocks:
                    self._event(block.decode())
        finally:
            self._writer.transport.abort()

    def _event(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        self._id = fields.get("id", self._id)
        if "retry" in fields:
            self._retry = int(fields["retry"]) / 1000
        if "data" not in fields:
            return
        data = json.loads(fields["data"])
        if data["kind"] == "ready":
            self.ready += 1
        elif data["kind"] == "gap":
            self.events.append(("gap", data["data"]["reason"]))
        elif data["kind"] == "data":
            self.events.append((data["topic"], data["data"]["n"]))


@dataclass
class Traffic:
    """Publishes to rooms one number after the other in each topic, and knows how many there were.

    Attributes:
        publish: Publishes a number to a topic of a room; called again with the same number until it succeeds.
        rate: Messages a second, to all rooms together.
        published: How many each topic of each room got.
        failures: How often it had to be called again.
        seconds: How long it took.
    """

    publish: Callable[[str, str, int], Awaitable[None]]
    rooms: Sequence[str]
    rate: float = 70.0
    published: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    failures: int = 0
    seconds: float = 0.0

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Publish while the block runs."""
        over = asyncio.Event()
        tasks = [asyncio.ensure_future(self._flow(room, over)) for room in self.rooms]
        began = time.monotonic()
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)
            self.seconds = time.monotonic() - began

    async def _flow(self, room: str, over: asyncio.Event) -> None:
        counts = self.published[room] = dict.fromkeys(TOPICS, 0)
        interval = len(self.rooms) / self.rate
        due = time.monotonic() + random.uniform(0, interval)
        while not over.is_set():
            topic = random.choice(TOPICS)
            while True:
                try:
                    await self.publish(room, topic, counts[topic])
                    break
                except (RealtimeError, httpx.HTTPError):
                    self.failures += 1
                    if self.failures > 1_000:
                        raise
                    await asyncio.sleep(0.05)
            counts[topic] += 1
            due = max(due + interval, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.published.values())


@contextlib.asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    """Start them one after the other, and stop them in the opposite order when the block ends."""
    started: list[Process] = []
    try:
        for process in processes:
            started.append(process)
            await process.start()
        yield
    finally:
        for process in reversed(started):
            await process.stop()


@contextlib.asynccontextmanager
async def pages(url: str, rooms: Iterator[str] | Sequence[str]) -> AsyncIterator[list[Page]]:
    """One page for each room that is named; all of their streams have begun when the block does."""
    watching = [Page(url, room).start() for room in rooms]
    try:
        await until(lambda: all(page.ready for page in watching), timeout=30)
        yield watching
    finally:
        for page in watching:
            await page.stop()


async def settle(watching: Sequence[Page], traffic: Traffic, *, timeout: float = 30.0) -> Verdict:
    """Wait until every page has the last message of each topic, and compare what came with what was published."""

    def is_complete() -> bool:
        return all(
            not count or (topic, count - 1) in page.events
            for page in watching
            for topic, count in traffic.published[page.room].items()
        )

    with contextlib.suppress(TimeoutError):
        await until(is_complete, timeout=timeout)
    return sum((judge(page.events, traffic.published[page.room]) for page in watching), Verdict())
