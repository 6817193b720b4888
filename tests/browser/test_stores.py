"""The Vue composable and the Svelte store of docs/clients/vue-svelte.md, as they are written there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import HERE, MODULES, SERVERS, UNTIL, App, Opened, build

PAGE = HERE.parent.parent / "docs" / "clients" / "vue-svelte.md"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of both, built with Vite."""
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
    directory = tmp_path_factory.mktemp("stores")
    shutil.copytree(HERE / "pages", directory, dirs_exist_ok=True)
    (directory / "client.js").write_text((files("inngest_realtime_core.endpoints") / "client.js").read_text())
    blocks = re.findall(r"```js\n(// (\w+\.js)\n.*?)```", PAGE.read_text(), re.S)
    for code, name in blocks:
        (directory / name).write_text(code)
    assert {name for _, name in blocks} == {"useRun.js", "run.js"}
    return build(directory, "stores.js")


@pytest.mark.parametrize("app", list(SERVERS)[:1], indirect=True)
def test_a_composable_and_a_store(stores: Path, app: App, context: Any, open_page: Callable[..., Opened]) -> None:
    began: list[str] = []
    ended: list[str] = []
    context.route("**/stores.js", lambda route: route.fulfill(path=stores, content_type="text/javascript"))
    context.on("response", lambda response: began.append(response.url))
    context.on("requestfailed", lambda request: ended.append(request.url))
    page = open_page("stores")
    stream = f"{app.url}/api/realtime/pipeline/stream?runId={page.run_id}&topics=status"
    channel = f"pipeline:{page.run_id}"
    eventually(page, lambda: began.count(stream) == 2)
    page.until("document.querySelector('#vue').textContent.startsWith('open')")
    for message in ("one", "two"):
        app.inngest.publish_sync(channel, "status", {"message": message})
        page.until(f"document.querySelector('#vue').textContent === 'open {message} false'")
    page.until("window.svelte.join() === ',one,two'")
    app.inngest.drop_connections(channel)
    page.until("document.querySelector('#vue').textContent === 'open two true'")
    app.inngest.publish_sync(channel, "status", {"message": "three"})
    page.until("document.querySelector('#vue').textContent === 'open three false' && window.svelte.at(-1) === 'three'")
    page.page.evaluate("window.leave()")
    eventually(page, lambda: len(ended) == 2)
    assert ended == [stream, stream]


def eventually(page: Opened, condition: Callable[[], bool]) -> None:
    """Waits for what playwright tells of while it is waited in."""
    for _ in range(100):
        if condition():
            return
        page.page.wait_for_timeout(UNTIL / 100)
    raise AssertionError("It never came true.")
