"""The tutorials, followed as a stranger would: an empty folder, the page's files and commands, a browser's requests."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from inngest_realtime_devserver import DevServer
from ports import free_port

from .blocks import ROOT, Block, blocks_of

FRAMEWORKS = sorted(page.stem for page in (ROOT / "docs" / "tutorial").glob("*.md"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_tutorial_from_an_empty_folder(framework: str, tmp_path: Path) -> None:
    blocks = blocks_of(ROOT / "docs" / "tutorial" / f"{framework}.md")
    began = time.monotonic()
    create(blocks, tmp_path)
    add_own_routes(framework, tmp_path)
    with DevServer().in_thread() as server, serving(commands(blocks), tmp_path, server.url) as site:
        page = site.get("/")
        assert "/api/realtime/client.js" in page.text
        assert site.get("/api/realtime/client.js").headers["content-type"].startswith("text/javascript")
        assert set(site.get("/api/realtime/report/token", params={"runId": "run-1"}).json()) == {"key", "apiBaseUrl"}
        assert set(site.get("/reports/run-1/token").json()) == {"key", "apiBaseUrl"}
        assert follow(site, "run-1") == ["Collecting", "Comparing", "Writing", "Done"]
    print(f"\n{framework}: {time.monotonic() - began:.1f} s from an empty folder to the last message")


def production() -> list[str]:
    """The commands that docs/deployment.md begins with: FastAPI's and Starlette's, Django's, and Flask's."""
    blocks = blocks_of(ROOT / "docs" / "deployment.md")
    return commands([block for block in blocks if block.language == "console"])


@pytest.mark.parametrize(("framework", "number"), [("starlette", 0), ("django", 1), ("flask", 2)])
def test_a_command_for_production(framework: str, number: int, tmp_path: Path) -> None:
    create(blocks_of(ROOT / "docs" / "tutorial" / f"{framework}.md"), tmp_path)
    command = production()[number]
    with DevServer().in_thread() as server, serving([f"INNGEST_DEV=1 {command}"], tmp_path, server.url) as site:
        with site.stream("GET", "/api/realtime/report/stream", params={"runId": "run-1"}) as stream:
            assert "event: ready" in next(lines for lines in stream.iter_text() if "event:" in lines)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the path")
def test_the_five_minutes_of_the_readme(tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(ROOT / "README.md") if "nox" not in block.code]
    create(blocks, tmp_path)
    asks, starts = (next(line for line in commands(blocks) if word in line) for word in ("curl", "uvicorn app:app"))
    with DevServer().in_thread() as server, serving([starts], tmp_path, server.url) as site:
        line = asks.replace("http://127.0.0.1:8000", str(site.base_url).rstrip("/"))
        talk = "INNGEST_DEV=1 python talk.py"
        assert f"`{talk}`" in (ROOT / "README.md").read_text()
        assert site.get("/openapi.json").status_code == 200  # it listens: curl would not wait
        with subprocess.Popen([*shlex.split(line), "-sS"], stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout is not None
            assert any(line == "event: ready\n" for line in curl.stdout)
            own = {**environment(), "INNGEST_DEV": server.url}
            done = subprocess.run([sys.executable, "talk.py"], cwd=tmp_path, env=own, text=True, capture_output=True)
            assert done.stdout == "Halfway\n", done.stderr
            assert any('"Halfway"' in line for line in curl.stdout)
            curl.terminate()


def create(blocks: list[Block], folder: Path) -> None:
    """Writes the page's files, after its command that makes a project, if it has one."""
    for command in commands(blocks):
        if command.startswith("django-admin"):
            run = [sys.executable, "-m", "django", *shlex.split(command)[1:]]
            subprocess.run(run, cwd=folder, check=True, timeout=60, env=environment())
    for block in blocks:
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            # "At the end of the settings", of a new project.
            kept = path.read_text() if path.name == "settings.py" and path.exists() else ""
            path.write_text(f"{kept}\n{block.code}")


def add_own_routes(framework: str, folder: Path) -> None:
    """Adds the two lines that the last section names, where it says."""
    page = (ROOT / "docs" / "tutorial" / f"{framework}.md").read_text()
    ((name, *lines),) = re.findall(r"At the end of `(\S+)`, `(.+)` and `(.+)` add", page)
    with (folder / name).open("a") as file:
        file.write("\n".join(["", *lines, ""]))


def commands(blocks: list[Block]) -> list[str]:
    """What the page types into a terminal."""
    lines = [line for block in blocks if block.language == "console" for line in block.code.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@contextmanager
def serving(typed: list[str], folder: Path, inngest: str) -> Iterator[httpx.Client]:
    """Runs the page's server command until the block ends, on a free port."""
    (line,) = (line for line in typed if line.startswith("INNGEST_DEV=1") and " tail " not in line)
    port = free_port()
    words = shlex.split(line.removeprefix("INNGEST_DEV=1 ").replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    if words[0] == "uvicorn":
        words += ["--port", str(port)]
    elif "--bind" not in words:
        words += ["--bind", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", *words]
    log = folder / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env={**environment(), "INNGEST_DEV": inngest}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            transport = httpx.HTTPTransport(retries=8)
            with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=20) as site:
                yield site
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.terminate()


def follow(site: httpx.Client, run_id: str) -> list[str]:
    """Subscribes first and then starts the run, as the page does; returns the messages up to the last one."""
    messages: list[str] = []
    with site.stream("GET", "/api/realtime/report/stream", params={"runId": run_id}) as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            if line == "event: ready":
                assert site.post(f"/reports/{run_id}").status_code == 202
            data = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if data.get("kind") == "data":
                messages.append(data["data"]["message"])
                if messages[-1] == "Done":
                    return messages
    raise AssertionError(f"the stream ended after {messages}")


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INNGEST_", "DJANGO_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(["", *sys.path]).strip(os.pathsep), "PYTHONUNBUFFERED": "1"}
