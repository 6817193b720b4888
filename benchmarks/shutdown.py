"""Seconds from SIGTERM to the end of each server, with five idle event streams open: ours, and ones written by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

from inngest_realtime_devserver.server import DevServer

from .report import Figure

_STREAMS = 5
_PATIENCE = 20.0  # seconds after which a server counts as waiting for its streams
_OURS = "/api/realtime/stopping/stream"  # as in stopping.py, which can't be imported without an Inngest
_BY_HAND = "/by-hand"

_SERVERS = {
    "uvicorn": "uvicorn benchmarks.stopping:asgi --port {port}",
    "uvicorn --workers 2": "uvicorn benchmarks.stopping:asgi --port {port} --workers 2",
    "uvicorn --reload": "uvicorn benchmarks.stopping:asgi --port {port} --reload --reload-dir benchmarks",
    "hypercorn": "hypercorn benchmarks.stopping:asgi --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi --host 127.0.0.1 --port {port} benchmarks.stopping:asgi",
    "gunicorn -k uvicorn_worker.UvicornWorker": (
        "gunicorn benchmarks.stopping:asgi -k uvicorn_worker.UvicornWorker --bind 127.0.0.1:{port}"
    ),
    "gunicorn -k gthread": "gunicorn benchmarks.stopping:wsgi -k gthread --threads 20 --bind 127.0.0.1:{port}",
    "gunicorn -k gthread --preload": (
        "gunicorn benchmarks.stopping:wsgi --preload -k gthread --threads 20 --bind 127.0.0.1:{port}"
    ),
    "gunicorn -k gevent": "gunicorn benchmarks.stopping:wsgi -k gevent --bind 127.0.0.1:{port}",
}


def run() -> list[Figure]:
    """Stop every server that is installed."""
    figures: list[Figure] = []
    with DevServer().in_thread() as inngest:
        for name, command in _SERVERS.items():
            needed = [name.split()[0], *(["uvicorn_worker"] if "uvicorn_worker" in name else [])]
            if any(find_spec(module) is None for module in needed):
                figures.append(Figure(name, "not installed"))
                continue
            ours, told = _stop(command, _OURS, inngest.url)
            by_hand, _ = _stop(command, _BY_HAND, inngest.url)
            note = f"by hand: {by_hand}; clients told to come back: {told} of {_STREAMS}"
            figures.append(Figure(name, ours, note=note))
    return figures


def _stop(command: str, path: str, inngest: str) -> tuple[str, int]:
    """Seconds to the end as text, and how many clients were told when to come back."""
    port = _free_port()
    environment = {**os.environ, "BENCHMARK_INNGEST": inngest}
    process = subprocess.Popen(
        [sys.executable, "-m", *command.format(port=port).split()],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(_client(port, path, process)) for _ in range(_STREAMS)]
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                return f"still running after {_PATIENCE:.0f} s", 0
            took = time.monotonic() - began
            return f"{took:.2f} s", sum(b"retry:" in _wait(client) for client in clients)
    finally:
        # Workers too: they are a group of their own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _client(port: int, path: str, process: subprocess.Popen[bytes]) -> Iterator[socket.socket]:
    """A browser whose stream is open."""
    with _connection(port, process) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
        received = b""
        while b": open" not in received and b"event: ready" not in received:
            chunk = client.recv(4096)
            if not chunk:
                raise RuntimeError(f"No event stream at {path}: {received[:200]!r}")
            received += chunk
        yield client


def _connection(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _wait(client: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        client.settimeout(1.0)
        while chunk := client.recv(4096):
            received += chunk
    return received


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
