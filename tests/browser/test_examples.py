"""The pages of the examples as people see them: a run, a late joiner, a reload, a cut; React, on each framework."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser.conftest import MODULES, UNTIL, check_accessibility, picture
from ports import free_port

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
DONE = "document.querySelector('#message')?.textContent === 'The summary is ready'"
# Keeps each text that a page shows, and has what the page fetches arrive only when more events have come.
WATCH = """
window.seen = [];
const $ = (selector) => document.querySelector(selector);
addEventListener("DOMContentLoaded", () => {
  new MutationObserver(() => window.seen.push($("#text").textContent)).observe($("#text"), { childList: true });
});
const { fetch } = window;
window.fetch = async (...request) => {
  const answer = await fetch(...request);
  if (String(request[0]).startsWith("/api/runs")) {
    const enough = Number($("#count").textContent) + 3;
    while (Number($("#count").textContent) < enough && $("#message").textContent !== "The summary is ready") {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  return answer;
};
"""
TEXT_END = "das Team ☀️."
TEXT_LENGTH = 522


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Path:
    """The examples with the React page built, as `npm run build` does it."""
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(EXAMPLES, root / "examples", ignore=shutil.ignore_patterns("node_modules", "dist"))
    client = root / "inngest_realtime_core" / "endpoints"
    client.mkdir(parents=True)
    for name in ("client.js", "client.d.ts"):
        shutil.copy(ROOT / "inngest_realtime_core" / "endpoints" / name, client)
    react = root / "examples" / "react"
    (react / "node_modules").symlink_to(MODULES)
    for tool in (["typescript/bin/tsc"], ["vite/bin/vite.js", "build", "--logLevel", "warn"]):
        done = subprocess.run(
            ["node", f"node_modules/{tool[0]}", *tool[1:]], cwd=react, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return root / "examples"


def test_the_types_of_the_react_example_are_up_to_date() -> None:
    command = [
        sys.executable,
        "-m",
        "inngest_realtime_cli",
        "types",
        "pipeline",
        "--out",
        "react/src/channels.ts",
        "--check",
    ]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture(
    scope="module", params=re.findall(r'^    "(\w+)": _', (EXAMPLES / "servers.py").read_text(), re.MULTILINE)
)
def demo(request: pytest.FixtureRequest, examples: Path) -> Iterator[str]:
    """The demo's application on a framework, with an embedded Inngest."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
    command = [sys.executable, "demo.py", request.param, "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    environment["PIPELINE_PACE"] = "1" if os.environ.get("SCREENSHOTS") else "0.4"  # pictures take a while
    with subprocess.Popen(command, cwd=examples, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(url, trust_env=False)
                    break
                assert time.monotonic() < deadline, "the demo did not start"
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def until(page: Any, expression: str) -> None:
    page.wait_for_function(expression, timeout=UNTIL)


def test_the_page(demo: str, context: Any) -> None:
    page = context.new_page()
    page.goto(demo)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button is the first thing that a keyboard reaches
    until(page, "document.querySelector('#text').textContent.length > 40")
    shown = page.evaluate("document.querySelector('#text').textContent.length")
    page.reload()
    until(page, f"document.querySelector('#text').textContent.length >= {shown}")

    late = context.new_page()
    late.add_init_script(WATCH)
    late.goto(page.get_attribute("#join", "href") and f"{demo}/{page.get_attribute('#join', 'href')}")
    until(late, "document.querySelector('#note').textContent.startsWith('You joined late')")
    picture(late, "late")
    page.click("#cut")
    until(page, "document.querySelector('#state').dataset.state === 'closed'")
    picture(page, "cut")
    check_accessibility(late)
    for watcher in (page, late):
        until(watcher, DONE)
        until(watcher, f"document.querySelector('#text').textContent.endsWith({TEXT_END!r})")
    texts = {watcher.text_content("#text") for watcher in (page, late)}
    assert len(texts) == 1
    text = texts.pop()
    assert len(text) == TEXT_LENGTH
    # Not for a moment is there a hole in it, or something twice.
    assert [seen for seen in late.evaluate("window.seen") if not text.startswith(seen)] == []
    picture(page, "done")


@pytest.mark.parametrize("view", ["hook", "events"])
def test_react(view: str, demo: str, context: Any) -> None:
    page = context.new_page()
    page.goto(f"{demo}/react/#{view}")
    until(page, "document.querySelector('#state')?.dataset.state === 'open'")
    until(page, DONE)
    until(page, f"document.querySelector('#text').textContent.endsWith({TEXT_END!r})")
    picture(page, f"react-{view}")
    check_accessibility(page)


def test_the_react_view_over_events_after_a_gap(demo: str, context: Any) -> None:
    """The first stream says that something was missed, and ends: what comes until the next is missed for certain."""
    page = context.new_page()
    gap = {"kind": "gap", "channel": "c", "topic": "", "data": {"reason": "overflow", "missed": 1}}
    body = f"event: ready\ndata: {{}}\n\nevent: gap\ndata: {json.dumps(gap)}\n\nretry: 3000\n"
    streams: list[str] = []

    def stream(route: Any) -> None:
        streams.append(route.request.url)
        if len(streams) == 1:
            route.fulfill(body=body, content_type="text/event-stream")
        else:
            route.continue_()

    page.route("**/pipeline/stream*", stream)
    page.goto(f"{demo}/react/#events")
    until(page, "document.querySelector('#text').textContent.length > 20")
    until(page, DONE)
    until(page, f"document.querySelector('#text').textContent.endsWith({TEXT_END!r})")
    assert len(page.text_content("#text")) == TEXT_LENGTH
    assert len(streams) > 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width", "height"), [("desktop", 1000, 720), ("phone", 390, 760)])
def test_the_page_fits(scheme: str, device: str, width: int, height: int, demo: str, context: Any) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.goto(demo)
    check_accessibility(page)
    page.click("#start")
    until(page, "document.querySelector('#text').textContent.length > 200")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    live = page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    assert live.evaluate_all("(elements) => elements.map((element) => element.id)") == ["message"], "it says too much"
    picture(page, f"{device}-{scheme}")
    check_accessibility(page)
