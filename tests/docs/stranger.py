"""Follows a tutorial as a stranger does, and takes the time: `python -m docs.stranger PAGE WHEEL` in `tests`.

What the page says is done as it stands and in its order, in an empty folder: its commands are typed into a shell, `pip
install` included, its files are written, its servers are left running. Only the wheel comes from here instead of the
package index, and the ports have to be free. Then the page's button is pressed, in Chromium where there is one and
playwright, and its text is what the tutorial says it becomes.
"""

from __future__ import annotations

import os
import re
import shutil
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
TEXTS = ["Collecting", "Comparing", "Writing", "Done"]
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
            if " tail " in line:
                self.wait_for_text("Listening to report:run-1")
                return
            for name, port in PORTS.items():
                if name in line:
                    wait_for(port)
            return
        subprocess.run(["bash", "-ec", command], cwd=self.folder, env=self._environment, check=True, timeout=600)
        if made := re.search(r"mkdir (\w+) && cd", line):
            self.folder /= made[1]
        if activated := re.search(r"\. \S+/activate", line):
            self._activate = f"{activated[0]} && "

    def logs(self) -> str:
        return "".join(f"-- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("terminal-*.log")))

    def wait_for_text(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.logs():
            assert time.monotonic() < deadline, f"no terminal says {text!r}"
            time.sleep(0.05)

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
        # "At the end of the settings that `startproject` has made, add:"
        path.write_text(path.read_text() + "\n" + block.code)
    else:
        path.write_text(block.code)


def press_the_button() -> None:
    chromium = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("There is no Chromium, or no playwright: the button was not pressed.")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto("http://127.0.0.1:8000/")
        page.get_by_role("button").click()
        for text in TEXTS:
            page.get_by_role("status").get_by_text(text).wait_for()
        assert not errors, errors
        browser.close()
    print("The button was pressed, and the page's text went from", " to ".join(TEXTS))


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
                        shell.type(line.removeprefix("$ "))
            set_up = time.monotonic() - began
            for text in TEXTS:
                shell.wait_for_text(f'"{text}"')  # in the terminal that tails
            with httpx.Client(base_url="http://127.0.0.1:8000", timeout=30, trust_env=False) as site:
                assert "/api/realtime/client.js" in site.get("/").text
                assert follow(site, "run-2") == TEXTS
            press_the_button()
        except BaseException:
            print(shell.logs())
            raise
        finally:
            shell.close()
    total = time.monotonic() - began
    print(f"{Path(page).stem}: {total:.1f} s from an empty folder to the last message, {set_up:.1f} s of it setting up")


if __name__ == "__main__":
    main(*sys.argv[1:])
