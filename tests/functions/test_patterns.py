"""The patterns of examples/patterns, each served as its first lines say, and executed as Inngest executes functions."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from inngest_realtime_devserver.server import DevServer

from .executor import Executor, Run
from .serving import Events

PATTERNS = Path(__file__).parent.parent.parent / "examples" / "patterns"
COMMANDS = {
    "answer": ["uvicorn", "answer:app", "--log-level", "warning", "--port", "{port}"],
    "approval": ["uvicorn", "approval:app", "--log-level", "warning", "--port", "{port}"],
    "approval_django": ["approval_django", "runserver", "--noreload", "127.0.0.1:{port}"],
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

    def close(self) -> None:
        with self.events.arrived:
            self.closing = True
            self.events.arrived.notify_all()
        for thread in self._threads:
            thread.join(10)
        self._streams.close()
        self.http.close()


@pytest.fixture
def serve(dev: DevServer, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    with contextlib.ExitStack() as stack:

        def start(pattern: str) -> Site:
            events = Events()
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("INNGEST_", "DJANGO_"))}
            environment = {
                **kept,
                "INNGEST_DEV": dev.url,
                "INNGEST_EVENT_API_BASE_URL": stack.enter_context(events.serve()),
            }
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            command = [sys.executable, "-m", *(word.format(port=port) for word in COMMANDS[pattern])]
            log = stack.enter_context((tmp_path / "server.log").open("w"))
            process = subprocess.Popen(command, cwd=PATTERNS, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            site = Site(f"http://127.0.0.1:{port}", events)
            stack.callback(site.close)
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    page = site.http.get("/")
                    assert page.status_code == 200
                    assert "/api/realtime/client.js" in page.text
                    return site
                assert time.monotonic() < deadline
                time.sleep(0.05)

        yield start


def test_an_answer_in_tokens_and_as_a_whole(serve: Callable[[str], Site]) -> None:
    site = serve("answer")
    site.execute("answers", "answer", "question/asked", lost=["answer"])
    question_id = str(uuid4())
    stream = site.stream("/api/realtime/chat/stream", questionId=question_id)
    assert next(stream)["kind"] == "ready"
    asked = {"questionId": question_id, "question": "How was the week?"}
    assert site.http.post("/questions", json=asked).status_code == 202
    text, messages = "", 0
    for message in stream:
        if message["topic"] == "answer":
            break
        text += message["data"]
        messages += 1
    assert text.startswith("You asked: How was the week? The grid")
    assert message["data"] == {"text": text}
    assert messages < len(text.split())
    site.close()
    (run,) = site.runs
    assert run.output == text
    assert message["runId"] == run.id


@pytest.mark.parametrize("pattern", ["approval", "approval_django"])
@pytest.mark.parametrize("approved", [True, False, None])
def test_a_person_in_the_loop(pattern: str, approved: bool | None, serve: Callable[[str], Site]) -> None:
    site = serve(pattern)

    def answers(name: str) -> dict[str, Any] | None:
        return None if approved is None else site.events.wait_for(name)

    site.execute("approvals", "deploy", "deployment/requested", events=answers)
    deployment_id = str(uuid4())
    stream = site.stream("/api/realtime/deployment/stream", deploymentId=deployment_id)
    assert next(stream)["kind"] == "ready"
    assert site.http.post(f"/deployments/{deployment_id}").status_code == 202
    question = next(stream)
    assert question["data"]["text"] == "Deploy to production?"
    if approved is not None:
        answer = {"questionId": question["data"]["id"], "approved": approved}
        assert site.http.post(f"/deployments/{deployment_id}/answer", json=answer).status_code == 202
    outcome = next(stream)
    expected = {True: "deployed", False: "refused", None: "expired"}[approved]
    assert (outcome["topic"], outcome["data"]) == ("outcome", {"state": expected})
    site.close()
    (run,) = site.runs
    assert run.output == expected
    assert question["data"]["id"] == run.id


def test_several_channels_in_one_page(serve: Callable[[str], Site], dev: DevServer) -> None:
    site = serve("dashboard")
    site.execute("dashboard", "run-job", "job/requested")
    team, jobs = secrets.token_hex(4), ["solar", "wind", "storage"]
    notices = site.stream("/api/realtime/team/stream", team=team)
    streams = {job: site.stream("/api/realtime/job/stream", team=team, job=job) for job in jobs}
    for stream in (notices, *streams.values()):
        assert next(stream)["kind"] == "ready"
    assert dev.stats().open_connections == 1, "they share a connection"
    for job in jobs:
        assert site.http.post(f"/teams/{team}/jobs/{job}").status_code == 202
    for stream in streams.values():
        assert [next(stream)["data"]["done"] for _ in range(3)] == [1, 2, 3]
    assert {next(notices)["data"]["job"] for _ in jobs} == set(jobs)
