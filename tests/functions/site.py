"""Serves an example of examples/patterns, with all of Inngest beside it: realtime, events, what executes functions."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from inngest_realtime_devserver.server import DevServer
from ports import free_port

from .executor import Executor, Run
from .serving import Events

__all__ = ["Site", "serve_pattern"]

PATTERNS = Path(__file__).parent.parent.parent / "examples" / "patterns"
COMMANDS = {
    "answer": ["uvicorn", "answer:app", "--log-level", "warning", "--port", "{port}"],
    "approval": ["uvicorn", "approval:app", "--log-level", "warning", "--port", "{port}"],
    "approval_django": ["approval_django", "runserver", "--noreload", "127.0.0.1:{port}"],
    "progress": ["uvicorn", "progress:app", "--log-level", "warning", "--port", "{port}"],
    "progress_flask": ["flask", "--app", "progress_flask", "run", "--port", "{port}"],
    "dashboard": ["uvicorn", "dashboard:app", "--log-level", "warning", "--port", "{port}"],
}


class Site:
    """An example that is served, with all of Inngest beside it: realtime, events, and what executes functions."""

    def __init__(self, url: str, events: Events) -> None:
        self.url = url
        self.events = events
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=20)
        self.runs: list[Run] = []
        self.closing = False
        self._threads: list[threading.Thread] = []
        self._streams = contextlib.ExitStack()

    def execute(self, app_id: str, fn_id: str, event: str, **options: Any) -> None:
        """Execute a function once for each event of this name that comes before the test ends."""
        done: set[str] = set()

        def next_event() -> dict[str, Any] | None:
            return next(
                (sent for sent in self.events.received if sent["name"] == event and key(sent) not in done), None
            )

        def key(sent: dict[str, Any]) -> str:
            return json.dumps(sent["data"], sort_keys=True)

        def work() -> None:
            with Executor(self.url, app_id=app_id, **options) as executor:
                while True:
                    with self.events.arrived:
                        self.events.arrived.wait_for(lambda: next_event() is not None or self.closing)
                        sent = next_event()
                    if sent is None:
                        return
                    done.add(key(sent))
                    self.runs.append(executor.run(fn_id, sent["data"]))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stream(self, path: str, **params: str) -> Iterator[dict[str, Any]]:
        """The data of an event stream's events, from `ready` on."""
        response = self._streams.enter_context(self.http.stream("GET", path, params=params))
        assert response.status_code == 200, response.read()
        return (json.loads(line[5:]) for line in response.iter_lines() if line.startswith("data:"))

    def close_runs(self) -> None:
        """Returns when all runs have come to their end."""
        with self.events.arrived:
            self.closing = True
            self.events.arrived.notify_all()
        for thread in self._threads:
            thread.join(10)

    def close(self) -> None:
        self.close_runs()
        self._streams.close()
        self.http.close()


@contextlib.contextmanager
def serve_pattern(pattern: str, dev: DevServer, folder: Path) -> Iterator[Site]:
    """Serves an example as its first lines say, with the server's log in `folder`."""
    events = Events()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INNGEST_", "DJANGO_"))}
    with contextlib.ExitStack() as stack:
        environment = {
            **kept,
            "INNGEST_DEV": dev.url,
            "INNGEST_EVENT_API_BASE_URL": stack.enter_context(events.serve()),
        }
        port = free_port()
        command = [sys.executable, "-m", *(word.format(port=port) for word in COMMANDS[pattern])]
        log = folder / f"{pattern}.log"
        output = stack.enter_context(log.open("w"))
        process = subprocess.Popen(command, cwd=PATTERNS, env=environment, stdout=output, stderr=output)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        site = Site(f"http://127.0.0.1:{port}", events)
        stack.callback(site.close)
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                assert "/api/realtime/client.js" in site.http.get("/").text
                assert site.http.get("/api/realtime/client.js").status_code == 200
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield site
