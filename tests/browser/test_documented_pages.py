"""The code of the pages in docs/clients, as it is written there, in Chromium against each adapter."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import CDN, HERE, MODULES, UNTIL, App, build
from browser.site import OTHER_ORIGIN, Pipeline
from docs.blocks import ROOT, blocks_of
from inngest_realtime_cli.types import typescript
from interop.test_types import TSC

RUN = "abc123"  # the run's id in the documentation


def html_of(page: str) -> list[str]:
    return [block.code for block in blocks_of(ROOT / "docs" / "clients" / f"{page}.md") if block.language == "html"]


PLAIN = dict(zip(["client.js", "for await", "EventSource"], html_of("plain"), strict=True))
HTMX = dict(zip(["htmx 2", "htmx 4"], html_of("htmx"), strict=True))


class Documented:
    """A page of the documentation that is open and subscribed, for a run of its own."""

    def __init__(self, page: Any, app: App, run_id: str) -> None:
        self.page, self.app, self.run_id = page, app, run_id

    def publish(self, channel: str, topic: str, data: object) -> None:
        self.app.inngest.publish_sync(f"{channel}:{self.run_id}", topic, data)

    def until(self, selector: str, text: str) -> None:
        condition = "([selector, text]) => document.querySelector(selector)?.innerText === text"
        self.page.wait_for_function(condition, arg=[selector, text], timeout=UNTIL)


Open = Callable[..., Documented]


@pytest.fixture
def documented(context: Any, app: App) -> Open:
    """Opens HTML at the adapter's own origin; what it takes from a CDN is taken from here."""
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
    run_id = uuid.uuid4().hex

    def open_page(html: str, path: str = "documented.html", origin: str = app.url) -> Documented:
        page = context.new_page()
        page.route("**/npm/**", lambda route: route.fulfill(path=MODULES / CDN[route.request.url.split("/npm/")[1]]))
        page.route(f"**/{path}", lambda route: route.fulfill(body=html.replace(RUN, run_id), content_type="text/html"))
        # An answer comes when the stream is subscribed: what is published from here on arrives.
        with page.expect_response(lambda response: "/stream?" in response.url, timeout=UNTIL):
            page.goto(f"{origin}/{path}")
        return Documented(page, app, run_id)

    return open_page


@pytest.mark.parametrize("client", ["client.js", "EventSource"])
def test_a_plain_page(client: str, documented: Open) -> None:
    page = documented(PLAIN[client])
    for text in ("Collecting", "<b>Done</b>"):
        page.publish("pipeline", "status", {"message": text})
        page.until("#status", text)


def test_the_script_of_the_readme(documented: Open) -> None:
    (script,) = (block.code for block in blocks_of(ROOT / "README.md") if block.language == "js")
    page = documented(f'<script type="module">{script}</script>')
    with page.page.expect_console_message(timeout=UNTIL) as told:
        page.publish("pipeline", "status", {"message": "Halfway"})
    assert told.value.args[0].json_value()["message"] == "Halfway"


def test_the_script_of_the_reference(documented: Open) -> None:
    """Its callbacks are empty: it subscribes with these options, and its last line ends what it has opened."""
    (script,) = (block.code for block in blocks_of(ROOT / "docs" / "reference.md") if block.language == "js")
    *opens, closes = script.strip().splitlines()
    code = "\n".join([f'const runId = "{RUN}";', *opens, f"window.end = () => {{ {closes} }};"])
    with_errors: list[str] = []
    page = documented(f'<script type="module">{code}</script>')
    page.page.on("console", lambda line: with_errors.append(line.text))
    page.publish("pipeline", "status", {"message": "Halfway"})
    page.page.wait_for_function("sessionStorage.length > 0", timeout=UNTIL)  # resume: "session"
    with page.page.expect_event("requestfailed", timeout=UNTIL) as ended:
        page.page.evaluate("end()")
    assert f"runId={page.run_id}&topic" in ended.value.url
    assert not with_errors


def test_the_script_of_another_origin(context: Any, documented: Open, app: App) -> None:
    (script,) = (block.code for block in blocks_of(ROOT / "docs" / "cors.md") if block.language == "js")
    script = script.replace("https://api.example.com", app.url)
    page = documented(
        f"<script>{script} source.onmessage = (event) => (window.got = event.data);</script>", origin=OTHER_ORIGIN
    )
    page.publish("pipeline", "status", {"message": "Halfway"})
    page.page.wait_for_function("window.got?.includes('Halfway')", timeout=UNTIL)


def test_a_plain_page_with_a_loop(documented: Open) -> None:
    page = documented(PLAIN["for await"])
    page.publish("pipeline", "tokens", "Hello")
    page.publish("pipeline", "tokens", "<b>world</b>")
    page.until("#tokens", "Hello\n<b>world</b>")


@pytest.mark.parametrize("client", HTMX)
def test_fragments(client: str, documented: Open) -> None:
    page = documented(HTMX[client])
    page.publish("report", "log", "one")
    page.publish("report", "log", "<b>two</b>")
    page.until("main ul", "one\n<b>two</b>")
    late = documented(HTMX[client], "late.html")
    late.until("main ul", "one\n<b>two</b>")
    page.page.reload()
    page.until("main ul", "one\n<b>two</b>")
    page.publish("report", "log", "three")
    for opened in (page, late):
        opened.until("main ul", "one\n<b>two</b>\nthree")


@pytest.fixture(scope="module")
def react(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both components in a page, with types generated from Python: checked by `tsc`, built with Vite."""
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
    folder = tmp_path_factory.mktemp("react")
    shutil.copytree(HERE / "pages", folder, dirs_exist_ok=True)
    for name in ("client.js", "client.d.ts"):
        (folder / name).write_text((files("inngest_realtime_core.endpoints") / name).read_text())
    (folder / "channels.ts").write_text(typescript([Pipeline], zod=False))
    blocks = re.findall(r"```tsx\n(// (\w+\.tsx)\n.*?)```", (ROOT / "docs" / "clients" / "react.md").read_text(), re.S)
    for code, name in blocks:
        (folder / name).write_text(code)
    assert {name for _, name in blocks} == {"Progress.tsx", "ProgressByEvents.tsx"}
    bundle = build(folder, "documented.tsx")
    command = ["node", "node_modules/typescript/bin/tsc", *TSC.split(), "documented.tsx"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    return bundle


def test_react_components(react: Path, context: Any, documented: Open) -> None:
    context.route("**/documented.js", lambda route: route.fulfill(path=react, content_type="text/javascript"))
    page = documented(f'<div id="root" data-run="{RUN}"></div><script type="module" src="/documented.js"></script>')
    # The hook says "open" before Inngest has registered it.
    page.until("#hook p", "open")
    for _ in range(100):
        page.publish("pipeline", "status", {"message": "Collecting", "step": None})
        if page.page.inner_text("#hook p") == "Collecting":
            break
        page.page.wait_for_timeout(100)
    page.publish("pipeline", "status", {"message": "<b>Done</b>", "step": None})
    for view in ("#hook p", "#events p"):
        page.until(view, "<b>Done</b>")


def test_react_components_that_are_refused_say_why(react: Path, context: Any, documented: Open) -> None:
    context.route("**/documented.js", lambda route: route.fulfill(path=react, content_type="text/javascript"))
    html = '<div id="root" data-run="secret"></div><script type="module" src="/documented.js"></script>'
    page = documented(html)
    for view in ("#hook [role=alert]", "#events [role=alert]"):
        page.page.locator(view, has_text="may not subscribe to this channel").wait_for(timeout=UNTIL)
