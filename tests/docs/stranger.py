"""Follows a tutorial as a stranger does, and takes the time: `python -m docs.stranger PAGE WHEEL` in `tests`.

What the page says is done as it stands and in its order, in an empty folder: its commands are typed into a shell, `pip
install` included, its files are written, its servers are left running. Only the wheel comes from here instead of the
package index, and the ports have to be free. Then the page in the browser is what the page says it is.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from .blocks import Block, blocks_of
from .test_tutorials import follow

SERVERS = re.compile(r"python -m inngest_realtime_devserver|INNGEST_DEV=1 (?:uvicorn|gunicorn)|INNGEST_DEV=1 .*tail")
PORTS = {"inngest_realtime_devserver": 8288, "uvicorn": 8000, "gunicorn": 8000}


class Shell:
    """Terminals in the project's folder, with its environment activated once there is one."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self._wheel = wheel
        self._activate = ""
        self._running: list[subprocess.Popen[bytes]] = []
        kept = {
            name: os.environ[name] for name in ("HOME", "LANG", "PIP_INDEX_URL", "SSL_CERT_FILE") if name in os.environ
        }
        # Without what activated the environment of whoever runs this.
        path = [entry for entry in os.get_exec_path() if not Path(entry).is_relative_to(sys.prefix)]
        self._environment = {**kept, "PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}

    def type(self, line: str) -> None:
        print(f"$ {line}", flush=True)
        if "inngest-realtime[" in line:
            line = re.sub(r'"inngest-realtime(\[[\w,]+\])"', rf'"{self._wheel}\1"', line)
        command = f"{self._activate}{line}"
        if SERVERS.search(line):
            log = (self.folder / f"terminal-{len(self._running)}.log").open("wb")
            self._running.append(
                subprocess.Popen(
                    ["bash", "-c", command],
                    cwd=self.folder,
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
            for name, port in PORTS.items():
                if name in line and "tail" not in line:
                    wait_for(port)
            return
        subprocess.run(["bash", "-ec", command], cwd=self.folder, env=self._environment, check=True, timeout=600)
        if made := re.search(r"mkdir (\w+) && cd", line):
            self.folder /= made[1]
        if activated := re.search(r"\. \S+/activate", line):
            self._activate = f"{activated[0]} && "

    def logs(self) -> str:
        return "".join(f"-- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("terminal-*.log")))

    def close(self) -> None:
        for process in self._running:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._running:
            process.wait(30)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.05)


def write(block: Block, folder: Path) -> None:
    path = folder / block.title
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "settings.py":
        # "Add to what startproject has made."
        path.write_text(path.read_text() + "\n" + block.code.replace("INSTALLED_APPS = [", "INSTALLED_APPS += ["))
    else:
        path.write_text(block.code)


def main(page: str, wheel: str) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as empty:
        shell = Shell(Path(empty), Path(wheel).resolve())
        try:
            for block in blocks_of(Path(page)):
                if block.title:
                    write(block, shell.folder)
                elif block.language == "console":
                    for line in block.code.splitlines():
                        shell.type(line.removeprefix("$ ").replace("RUN_ID", "run-1"))
            installed = time.monotonic()
            with httpx.Client(base_url="http://127.0.0.1:8000", timeout=30, trust_env=False) as site:
                assert "/api/realtime/client.js" in site.get("/").text
                deadline = time.monotonic() + 30
                while "Listening to report:run-1" not in shell.logs():
                    assert time.monotonic() < deadline, "tail does not listen"
                    time.sleep(0.05)
                assert follow(site, "run-1") == ["Collecting", "Comparing", "Writing", "Done"]
            while '"Done"' not in shell.logs():
                assert time.monotonic() < deadline, "tail has not seen the end"
                time.sleep(0.05)
        except BaseException:
            print(shell.logs())
            raise
        finally:
            shell.close()
    total = time.monotonic() - began
    set_up = installed - began
    print(f"{Path(page).stem}: {total:.1f} s from an empty folder to the last message, {set_up:.1f} s of it setting up")


if __name__ == "__main__":
    main(*sys.argv[1:])
