"""Many tabs on one origin: over HTTP/2 all of them stream, over HTTP/1.1 as many as a browser has connections."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser.conftest import SERVERS, UNTIL, App, Opened
from browser.site import PREFIX
from inngest_realtime_devserver.server import DevServer
from ports import free_port

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
def over_http2(app: App, certificate: Path, tmp_path: Path) -> Iterator[str]:
    """The adapter's server behind nginx, which speaks HTTP/2 with the browser."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: `apt-get install nginx-light`.")
    port = free_port()
    paths = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {paths} server {{\n"
        f"  listen 127.0.0.1:{port} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {certificate};\n"
        f"  location / {{ proxy_pass http://127.0.0.1:{app.port}; proxy_http_version 1.1; proxy_buffering off;\n"
        f'    proxy_set_header Host $http_host; proxy_set_header Connection ""; proxy_read_timeout 1h; }}\n'
        "} }\n"
    )
    command = [nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path), "-e", str(tmp_path / "log")]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"https://127.0.0.1:{port}/stats", verify=False, trust_env=False).raise_for_status()
                    break
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "nginx did not start"
                time.sleep(0.02)
            yield f"https://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def over_http1(chromium: Any, inngest: DevServer) -> Iterator[App]:
    app = App("FastAPI", inngest, SERVERS["FastAPI"])
    app.start()
    yield app
    app.stop()


def tabs(open_page_of: Callable[..., Opened], app: App, client: str, through: str | None = None) -> list[Opened]:
    names = [f"tab-{uuid.uuid4().hex}" for _ in range(TABS)]
    return [open_page_of(app, client, run=name, through=through) for name in names]


def opened(tab: Opened) -> bool:
    return bool(tab.page.evaluate(IS_OPEN))


@pytest.mark.parametrize("client", ["client", "sse"])
def test_all_tabs_stream_over_http2(
    app: App, client: str, over_http2: str, open_page_of: Callable[..., Opened], cell: Callable[..., None]
) -> None:
    cell(client, f"{TABS} tabs, HTTP/2")
    pages = tabs(open_page_of, app, client, over_http2)
    for page in pages:
        page.until(IS_OPEN)
    for number, page in enumerate(pages):
        page.publish(number)
    for number, page in enumerate(pages):
        page.until_got(number)
    assert pages[0].page.evaluate(PROTOCOL, f"{over_http2}{PREFIX}/client.js") == "h2"


def test_six_tabs_stream_over_http1(over_http1: App, open_page_of: Callable[..., Opened]) -> None:
    """Not a promise of ours: it shows that the documentation tells the truth."""
    pages = tabs(open_page_of, over_http1, "sse")
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
