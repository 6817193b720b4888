"""Many tabs on one origin: over HTTP/2 all of them stream, over HTTP/1.1 as many as a browser has connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import SERVERS, UNTIL, App, Opened
from browser.site import PREFIX
from inngest_realtime_devserver.server import DevServer

TABS = 20
CONNECTIONS = 6  # that a browser opens to one host over HTTP/1.1

IS_OPEN = "window.state === 'open'"
PROTOCOL = """async (url) => {
  await (await fetch(url)).text();
  return performance.getEntriesByName(url)[0].nextHopProtocol;
}"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that nobody has signed, in one file."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed; `nox -s browser` does that.")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture
def over_http2(chromium: Any, inngest: DevServer, certificate: Path) -> Iterator[App]:
    def command(port: int) -> list[str]:
        tls = ["--certfile", str(certificate), "--keyfile", str(certificate)]
        return [
            "-m",
            "hypercorn",
            "--bind",
            f"127.0.0.1:{port}",
            "--log-level",
            "warning",
            *tls,
            "browser.apps.fastapi:app",
        ]

    app = App("FastAPI over HTTP/2", inngest, command, scheme="https")
    app.start()
    yield app
    app.stop()


@pytest.fixture
def over_http1(chromium: Any, inngest: DevServer) -> Iterator[App]:
    app = App("FastAPI", inngest, SERVERS["FastAPI"])
    app.start()
    yield app
    app.stop()


def tabs(open_page_of: Callable[..., Opened], app: App) -> list[Opened]:
    return [open_page_of(app, "sse", run=f"tab-{app.port}-{number}") for number in range(TABS)]


def opened(tab: Opened) -> bool:
    return bool(tab.page.evaluate(IS_OPEN))


def test_all_tabs_stream_over_http2(over_http2: App, open_page_of: Callable[..., Opened]) -> None:
    pages = tabs(open_page_of, over_http2)
    for page in pages:
        page.until(IS_OPEN)
    for number, page in enumerate(pages):
        page.publish(number)
    for number, page in enumerate(pages):
        page.until_got(number)
    assert pages[0].page.evaluate(PROTOCOL, f"{over_http2.url}{PREFIX}/client.js") == "h2"


def test_six_tabs_stream_over_http1(over_http1: App, open_page_of: Callable[..., Opened]) -> None:
    """Not a promise of ours: it shows that the documentation tells the truth."""
    pages = tabs(open_page_of, over_http1)
    for page in pages[:CONNECTIONS]:
        page.until(IS_OPEN)
    for number, page in enumerate(pages):
        page.publish(number)
    for number, page in enumerate(pages[:CONNECTIONS]):
        page.until_got(number)
    assert [opened(page) for page in pages] == [True] * CONNECTIONS + [False] * (TABS - CONNECTIONS)
    # The next one waits for a connection, and not for anything else.
    pages[0].page.close()
    pages[CONNECTIONS].page.wait_for_function(IS_OPEN, timeout=UNTIL)
