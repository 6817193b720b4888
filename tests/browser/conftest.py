"""Chromium, the servers that it is pointed at, and the pages that are opened in it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from browser.site import PREFIX
from chaos.proxy import Proxy
from inngest_realtime_devserver.server import DevServer
from ports import free_port

HERE = Path(__file__).parent
TESTS = HERE.parent
MODULES = TESTS / "interop" / "node_modules"
RESULTS = TESTS.parent / "test-results"  # traces and screenshots of what failed
OPTIONS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
# The pages that a test makes up have no address, and pages of unknown origin may not call this machine's servers.
OPTIONS += " --disable-component-update --disable-sync --disable-features=LocalNetworkAccessChecks"
UNTIL = 30_000  # ms that a page may take to show what a test waits for

SCRIPTS = {
    "/htmx2.js": MODULES / "htmx2" / "dist" / "htmx.js",
    "/htmx2-sse.js": MODULES / "htmx-ext-sse" / "sse.js",
    "/htmx4.js": MODULES / "htmx.org" / "dist" / "htmx.js",
    "/htmx4-sse.js": MODULES / "htmx.org" / "dist" / "ext" / "hx-sse.js",
}
# What the pages of the examples and of the documentation take from a CDN, from here instead.
CDN = {
    "htmx.org@2.0.11/dist/htmx.min.js": "htmx2/dist/htmx.min.js",
    "htmx-ext-sse@2.2.4/sse.js": "htmx-ext-sse/sse.js",
    "htmx.org@4.0.1/dist/htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx.org@4.0.1/dist/ext/hx-sse.min.js": "htmx.org/dist/ext/hx-sse.min.js",
}

uvicorn = ["-m", "uvicorn", "--host", "127.0.0.1", "--log-level", "warning", "--port"]
gunicorn = ["-m", "gunicorn", "--worker-class", "gthread", "--threads", "64", "--bind"]
SERVERS = {
    "FastAPI": lambda port: [*uvicorn, str(port), "browser.apps.fastapi:app"],
    "Django ASGI": lambda port: [*uvicorn, str(port), "--lifespan", "off", "browser.apps.django:asgi"],
    "Django WSGI": lambda port: [*gunicorn, f"127.0.0.1:{port}", "browser.apps.django:wsgi"],
    "Flask": lambda port: [*gunicorn, f"127.0.0.1:{port}", "browser.apps.flask:app"],
}


@dataclass
class App:
    """An adapter's server in a process of its own, which can be restarted on its port."""

    name: str
    inngest: DevServer
    command: Callable[[int], list[str]]
    port: int = field(default_factory=free_port)
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
        environment |= {"PYTHONPATH": str(TESTS), "INNGEST_DEV": self.inngest.url}
        self.process = subprocess.Popen([sys.executable, *self.command(self.port)], env=environment, cwd=TESTS)
        deadline = time.monotonic() + 60
        with httpx.Client(trust_env=False, timeout=2, verify=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    client.get(f"{self.url}/stats").raise_for_status()
                    return
                assert self.process.poll() is None, f"{self.name} did not start"
                assert time.monotonic() < deadline, f"{self.name} did not start in time"
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, driven by playwright. What both put into the directory for temporary files goes when they end."""
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.skip("Chromium is not on the path: `apt-get install chromium`, or set CHROMIUM to its binary.")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `nox -s browser` does that.")
    with TemporaryDirectory(prefix="browser-") as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", temporary)
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=OPTIONS.split(), traces_dir=temporary)
            patch.undo()
            yield browser
            browser.close()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the React hook, built with Vite."""
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
    directory = tmp_path_factory.mktemp("hook")
    shutil.copytree(HERE / "pages", directory, dirs_exist_ok=True)
    return build(directory, "hook.tsx")


def build(directory: Path, entry: str) -> Path:
    """Builds a module with Vite, and returns the one file that it becomes."""
    (directory / "node_modules").symlink_to(MODULES)
    done = subprocess.run(
        ["node", "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"],
        cwd=directory,
        env={**os.environ, "ENTRY": entry},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "dist" / f"{Path(entry).stem}.js"


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture(scope="module", params=SERVERS)
def app(request: pytest.FixtureRequest, chromium: Any, inngest: DevServer) -> Iterator[App]:
    app = App(request.param, inngest, SERVERS[request.param])
    app.start()
    yield app
    app.stop()


@pytest.fixture
def context(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A browser profile of its own. A test that fails leaves a trace and a screenshot of each page."""
    context = chromium.new_context(ignore_https_errors=True)
    context.tracing.start(screenshots=True, snapshots=True)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda line: print(f"{line.type}: {line.text[:300]}"))  # shown with a failure
    yield context
    failed = getattr(request.node, "failed", False)
    if failed:
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        for number, page in enumerate(context.pages):
            page.screenshot(path=RESULTS / f"{name}-{number}.png")
        context.tracing.stop(path=RESULTS / f"{name}.zip")
    else:
        context.tracing.stop()
    context.close()
    assert failed or not errors, errors


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps the tests of one server in one process, which starts it once; the examples, too, are built once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, _, test = nodeid.partition("::")
            return path if path.endswith("test_examples.py") else f"{path} {test.partition('[')[2].partition('-')[0]}"

    return ByServer(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report


def picture(page: Any, name: str, *, full_page: bool = False) -> None:
    """Takes a picture for the documentation into the folder that `SCREENSHOTS` names, if it does."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=full_page, animations="disabled")


def check_accessibility(page: Any) -> None:
    """What axe finds: names of controls, contrast of colours, roles, the order of headings."""
    page.add_script_tag(path=MODULES / "axe-core" / "axe.min.js")
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(item["id"], [node["html"][:200] for node in item["nodes"]]) for item in found] == []


GOT = "window.got.filter((data) => data !== 'probe')"


@dataclass
class Opened:
    """A page that follows a run."""

    page: Any
    inngest: DevServer
    run_id: str

    def publish(self, *values: object) -> None:
        for value in values:
            self.inngest.publish_sync(f"pipeline:{self.run_id}", "tokens", value)

    def until(self, expression: str) -> None:
        self.page.wait_for_function(expression, timeout=UNTIL)

    def until_subscribed(self, client: str) -> None:
        """Waits until what is published now arrives. The hook says "open" before Inngest has registered it."""
        self.until("window.state === 'open'")
        probes = "window.got.filter((data) => data === 'probe').length"
        before = self.page.evaluate(probes)
        for _ in range(100 if client == "hook" else 0):
            self.publish("probe")
            with contextlib.suppress(Exception):
                self.page.wait_for_function(f"{probes} > {before}", timeout=100)
                return

    def until_got(self, *values: object) -> None:
        """Waits until the page has as many messages, and compares them all."""
        try:
            self.until(f"{GOT}.length >= {len(values)}")
        finally:
            got = self.page.evaluate(GOT)
            assert got == list(values), self.page.evaluate("[window.state, window.error, window.gaps, window.states]")


@pytest.fixture
def open_page(open_page_of: Callable[..., Opened], app: App) -> Callable[..., Opened]:
    """Opens the page of a client on the adapter's origin, or on another one, with a run of its own."""
    return functools.partial(open_page_of, app)


@pytest.fixture
def open_page_of(context: Any, request: pytest.FixtureRequest) -> Callable[..., Opened]:
    """The same for a server that is named: `open_page_of(app, client)`."""
    run_id = uuid.uuid4().hex
    contents = {f"/{path.name}": path for path in (HERE / "pages").glob("*.html")} | SCRIPTS

    def serve(route: Any) -> None:
        path = "/" + route.request.url.split("?")[0].rsplit("/", 1)[-1]
        if path == "/hook.js":
            route.fulfill(body=request.getfixturevalue("bundle").read_text(), content_type="text/javascript")
        elif path == "/client.js":
            source = (files("inngest_realtime_core.endpoints") / "client.js").read_text()
            route.fulfill(body=source, content_type="text/javascript")
        elif path in contents:
            kind = "text/javascript" if path.endswith(".js") else "text/html"
            route.fulfill(body=contents[path].read_text(), content_type=kind)
        else:
            route.fallback()

    def open_page(
        app: App,
        client: str,
        *,
        origin: str | None = None,
        through: str | None = None,
        run: str = run_id,
        **options: str,
    ) -> Opened:
        page = context.new_page()
        own = origin or through or app.url
        page.route(lambda url: url.startswith(own) and PREFIX not in url, serve)
        if client.startswith("htmx") and not MODULES.is_dir():
            pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
        query = httpx.QueryParams({"runId": run, "api": f"{through or app.url}{PREFIX}", **options})
        page.goto(f"{own}/{client}.html?{query}")
        return Opened(page, app.inngest, run)

    return open_page


@dataclass
class Cutter:
    """A proxy in front of the adapter, whose connections can be cut."""

    proxy: Proxy
    loop: asyncio.AbstractEventLoop

    def cut(self) -> None:
        """Cuts what is open, and refuses what comes until `mend()`."""
        self._run(self.proxy.refuse())
        self._run(self._cut())

    def mend(self) -> None:
        self._run(self.proxy.listen())

    async def _cut(self) -> None:
        self.proxy.reset(None)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)


@pytest.fixture
def cutter(app: App) -> Iterator[Cutter]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()
    cutter = Cutter(Proxy(app.port), loop)
    cutter.mend()
    yield cutter
    asyncio.run_coroutine_threadsafe(cutter.proxy.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def cell(request: pytest.FixtureRequest, app: App) -> Callable[..., None]:
    """Notes that a test fills a cell of the table in docs/clients.md: `cell(client, property, text)`."""

    def note(client: str, what: str, text: str = "yes") -> None:
        request.node.user_properties.append(("cell", [client, what, app.name, text]))

    return note


_outcomes: list[list[str]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        for name, value in report.user_properties:
            if name == "cell":
                *where, text = value  # type: ignore[misc]
                _outcomes.append([*where, text if report.passed else "fails"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes what was found, for whoever fills the table: `BROWSER_MATRIX` names the file."""
    target = os.environ.get("BROWSER_MATRIX")
    if target and _outcomes and not hasattr(session.config, "workerinput"):
        order = [*SERVERS]
        Path(target).write_text(json.dumps(sorted(_outcomes, key=lambda cell: order.index(cell[2])), indent=1))
