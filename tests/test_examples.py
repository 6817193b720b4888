"""Each example runs as a reader would run it: a process of its own, over loopback."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from ports import free_port

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
FRAMEWORKS = re.findall(r'^    "(\w+)": _', (EXAMPLES / "servers.py").read_text(), re.MULTILINE)


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment without a word of Inngest, as on a new machine.

    Nor is coverage measured: for a moment at its start that takes modules away which another thread is importing.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INNGEST_", "COV"))}
    return {**kept, "PIPELINE_PACE": "0.02", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def inngest(environment: dict[str, str]) -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        environment["INNGEST_DEV"] = server.url
        yield server


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=EXAMPLES, env=environment, text=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_demo_shows_one_run_on_three_roads(framework: str, environment: dict[str, str]) -> None:
    done = run(environment, "demo.py", framework, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Inngest      embedded, at http://127.0.0.1:" in done.stdout
    assert "messages by each road, the same on all three." in done.stdout
    for road in ("token", "websocket", "sse"):
        assert re.search(rf"{road} +open ", done.stdout)
        assert re.search(rf"{road} +tokens +\d+ chunks: The grid .* ☀️\.", done.stdout)
        assert re.search(rf"{road} +status +█+ The summary is ready", done.stdout)
    assert "eyJ" not in done.stdout + done.stderr, "a token was printed"


def test_the_demo_uses_the_inngest_that_the_environment_names(environment: dict[str, str], inngest: DevServer) -> None:
    done = run(environment, "demo.py", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the one that INNGEST_DEV names" in done.stdout
    assert inngest.stats().publishes == 9


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for another process")
def test_the_demo_stops_on_ctrl_c_while_somebody_watches(environment: dict[str, str]) -> None:
    port = free_port()
    command = [sys.executable, "demo.py", "--port", str(port)]
    with subprocess.Popen(command, cwd=EXAMPLES, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            assert any(f"Now open http://127.0.0.1:{port}" in line for line in demo.stdout)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http:
                page = http.get("/")
                assert page.status_code == 200
                assert not re.search(r"(src|href)=\"https?:", page.text), "the page loads something from elsewhere"
                with http.stream("GET", "/api/realtime/pipeline/stream", params={"runId": uuid.uuid4().hex}) as stream:
                    lines = stream.iter_lines()
                    assert next(lines).startswith("retry:")
                    demo.send_signal(signal.SIGINT)
                    assert "event: closing" in list(lines)
            assert demo.wait(10) == 0
        finally:
            demo.kill()


DOCUMENTED = {
    "fastapi": ["uvicorn", "documented_fastapi:app", "--log-level", "warning", "--port", "{port}"],
    "starlette": ["uvicorn", "documented_starlette:app", "--log-level", "warning", "--port", "{port}"],
    "flask": ["flask", "--app", "documented_flask", "run", "--port", "{port}"],
    "django": ["documented_django", "runserver", "--noreload", "127.0.0.1:{port}"],
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_documented_ways_to_a_token(framework: str, environment: dict[str, str], inngest: DevServer) -> None:
    ada = {"x-user": "ada"}
    run_id = "01JDK3V4Q5W6X7Y8Z9ABCDEFGH"  # as Inngest makes them
    with serving_command(environment, EXAMPLES / "patterns", ["-m", *DOCUMENTED[framework]]) as http:
        for method, path in (
            ("POST", "/runs/{}/token"),
            ("GET", "/api/realtime-token?runId={}"),
            ("GET", "/api/get-realtime-token?runId={}"),
            ("GET", "/api/realtime/pipeline/token?runId={}"),
        ):
            good = http.request(method, path.format(run_id), headers=ada)
            assert good.status_code == 200, (path, good.text)
            assert set(good.json()) == {"key", "apiBaseUrl"}
            channel = f"pipeline:{run_id}"
            assert topics_of(good.json()["key"]) == [(channel, "status"), (channel, "tokens")]
            assert good.headers["cache-control"] == "no-store"
            assert http.request(method, path.format(run_id)).status_code == 403, path
            assert http.request(method, path.format("a:b"), headers=ada).status_code == 422, path
            other = "GET" if method == "POST" else "DELETE"
            assert http.request(other, path.format(run_id), headers=ada).status_code == 405, path
            if "?" in path:
                missing = http.request(method, path.partition("?")[0], headers=ada)
                assert missing.status_code == (422 if "get-" in path else 400), (path, missing.text)


def test_an_inngest_function_publishes_from_its_steps(environment: dict[str, str], inngest: DevServer) -> None:
    run_id, fn_run = uuid.uuid4().hex, "01JDK3V4Q5W6X7Y8Z9ABCDEFGH"
    event = {"name": "report/requested", "data": {"runId": run_id}}
    with serving("inngest_function:app", EXAMPLES, environment) as http:
        realtime = Realtime(api_base_url=inngest.url, linger=0)
        with realtime.subscribe_sync(channel=f"pipeline:{run_id}", topics=["status", "tokens"]) as stream:
            output = execute(http, "grid-report-write-report", fn_run, event)
            messages = list(itertools.takewhile(lambda message: message.kind != "datastream-start", stream))
            assert [message.data["step"] for message in messages] == ["collect", "analyse", "write"]
            assert {message.run_id for message in messages} == {fn_run}
            chunks = list(itertools.takewhile(lambda message: message.kind == "chunk", stream))
            assert "".join(chunk.data for chunk in chunks) == output
            done = stream.receive(timeout=5)
            assert done is not None
            assert done.data["step"] == "done"
        realtime.close_sync()


def execute(http: httpx.Client, fn_id: str, run_id: str, event: dict[str, Any]) -> Any:
    """Calls a function as the Inngest server does: once for each step, until its output comes."""
    steps: dict[str, Any] = {}
    while True:
        context = {"attempt": 0, "disable_immediate_execution": False, "run_id": run_id, "stack": {"stack": [*steps]}}
        body = {"ctx": context, "event": event, "events": [event], "steps": steps, "use_api": False}
        answer = http.post("/api/inngest", params={"fnId": fn_id, "stepId": "step"}, json=body)
        assert answer.status_code in (200, 206), answer.text
        if answer.status_code == 200:
            return answer.json()
        for step in answer.json():
            assert step["op"] == "StepRun", step["error"]
            steps[step["id"]] = step["data"]


@contextlib.contextmanager
def serving(app: str, directory: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    command = ["-m", "uvicorn", app, "--port", "{port}", "--log-level", "warning"]
    with serving_command(environment, directory, command) as http:
        yield http


@contextlib.contextmanager
def serving_command(environment: dict[str, str], directory: Path, command: list[str]) -> Iterator[httpx.Client]:
    """Runs a server until the block ends. `{port}` in the command stands for a free one."""
    port = free_port()
    filled = [sys.executable, *(word.format(port=port) for word in command)]
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(filled, cwd=directory, env=environment, stdout=output, stderr=output) as server,
    ):
        try:
            deadline = time.monotonic() + 60
            while not listens(port):
                output.seek(0)
                assert server.poll() is None, output.read().decode()
                assert time.monotonic() < deadline, output.read().decode()
                time.sleep(0.05)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http:
                yield http
        finally:
            server.terminate()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def topics_of(key: str) -> list[tuple[str, str]]:
    claims = jwt.decode(key, options={"verify_signature": False})
    return [(topic["channel"], topic["name"]) for topic in claims["topics"]]
