"""The pages of docs/clients for programs that are no browser, as they are written there, against each adapter."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from chaos.proxy import Proxy
from conformance.servers import CASES, RunningServer, ServerCase, running
from inngest_realtime_devserver.server import DevServer

from .blocks import ROOT, blocks_of

NAMES = ("fastapi-uvicorn", "django-uvicorn", "django-gunicorn", "flask-gunicorn")
RUN = "abc123"  # the run's id in the documentation


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture(scope="module", params=[case for case in CASES if case.name in NAMES], ids=lambda case: case.name)
def server(request: pytest.FixtureRequest, inngest: DevServer) -> Iterator[RunningServer]:
    case: ServerCase = request.param
    with running(case, inngest.url, CONFORMANCE_HEARTBEAT="0.5") as server:
        yield server


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


def commands(url: str, run_id: str) -> list[list[str]]:
    """What docs/clients/curl.md types."""
    lines = [
        line.removeprefix("$ ").replace("http://127.0.0.1:8000", url).replace(RUN, run_id)
        for block in blocks_of(ROOT / "docs" / "clients" / "curl.md")
        for line in block.code.splitlines()
    ]
    return [shlex.split(line) for line in lines]


def until_line(process: subprocess.Popen[str], fits: Callable[[str], bool]) -> list[str]:
    """The lines that it prints, up to the first one that fits."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if fits(lines[-1]):
            return lines
    raise AssertionError(f"It ended after {lines}")


def ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(10)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the path")
def test_curl(server: RunningServer, inngest: DevServer, run_id: str) -> None:
    stream, resumed, token, posted, _ = commands(server.url, run_id)
    channel = f"pipeline:{run_id}"
    with subprocess.Popen([*stream, "-sS"], stdout=subprocess.PIPE, text=True) as process:
        begun = until_line(process, lambda line: line == "")
        assert "event: ready" in begun
        (place,) = (line.removeprefix("id: ") for line in begun if line.startswith("id: "))
        inngest.publish_sync(channel, "status", {"message": "one"})
        until_line(process, lambda line: line.startswith("data: ") and '"one"' in line)
        until_line(process, lambda line: line == ": heartbeat")
        ended(process)
    inngest.publish_sync(channel, "status", {"message": "two"})
    with subprocess.Popen(
        [word.replace("ID", place) for word in resumed] + ["-sS"], stdout=subprocess.PIPE, text=True
    ) as process:
        lines = until_line(process, lambda line: '"two"' in line)
        assert [json.loads(line[5:])["kind"] for line in lines if line.startswith("data:")] == ["ready", "data", "data"]
        ended(process)
    for command in (token, posted):
        done = subprocess.run([*command, "-sS"], capture_output=True, text=True, timeout=20, check=True)
        assert set(json.loads(done.stdout)) == {"key", "apiBaseUrl"}


def test_the_command_of_the_package(inngest: DevServer, run_id: str) -> None:
    command = commands("", run_id)[-1]
    assert command[0] == "inngest-realtime"
    environment = {**os.environ, "INNGEST_DEV": inngest.url}
    with subprocess.Popen(
        [sys.executable, "-m", "inngest_realtime_cli", *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"Listening to pipeline:{run_id} (status).\n"
        inngest.publish_sync(f"pipeline:{run_id}", "status", {"message": "Halfway"})
        until_line(process, lambda line: "Halfway" in line)
        ended(process)


def functions() -> dict[str, Any]:
    """What docs/clients/python.md defines."""
    namespace: dict[str, Any] = {"__name__": "documented"}
    for block in blocks_of(ROOT / "docs" / "clients" / "python.md"):
        exec(block.code, namespace)
    return namespace


async def test_a_program_with_a_token(
    server: RunningServer, inngest: DevServer, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    follow: Callable[[str, str], Awaitable[None]] = functions()["follow_with_token"]
    task = asyncio.ensure_future(follow(f"{server.url}/api/realtime", run_id))
    printed = ""
    while "Halfway" not in printed:
        await inngest.publish(f"pipeline:{run_id}", "status", {"message": "Halfway"})
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        printed += capsys.readouterr().out
    task.cancel()
    await asyncio.wait([task])
    assert {*printed.splitlines()} == {"{'message': 'Halfway'}"}


async def test_a_program_over_server_sent_events(server: RunningServer, inngest: DevServer, run_id: str) -> None:
    follow: Callable[..., Iterator[dict[str, Any]]] = functions()["follow"]
    channel = f"pipeline:{run_id}"
    async with Proxy(int(server.url.rpartition(":")[2])) as proxy:
        messages = follow(f"{proxy.url}/api/realtime/pipeline/stream", runId=run_id)
        first = asyncio.ensure_future(asyncio.to_thread(next, messages))
        while not first.done():
            await inngest.publish(channel, "status", {"message": "before"})
            await asyncio.wait([first], timeout=0.1)
        await proxy.refuse()
        proxy.reset(None)
        await inngest.publish(channel, "status", {"message": "meanwhile"})
        await proxy.listen()
        received = [await first]
        while received[-1]["data"]["message"] != "meanwhile":
            received.append(await asyncio.to_thread(next, messages))
            assert received[-1]["kind"] == "data", "it has missed something"
        assert [message["data"]["message"] for message in received].count("meanwhile") == 1
        messages.close()  # type: ignore[attr-defined]
