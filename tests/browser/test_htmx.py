"""The htmx examples: fragments from templates on Flask and Django, with htmx 2 and 4; and markup in data stays text."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser.conftest import CDN, MODULES, SERVERS, UNTIL, App, Opened, check_accessibility, gunicorn, picture, uvicorn
from inngest_realtime_devserver.server import DevServer
from ports import free_port

FOLDER = Path(__file__).parent.parent.parent / "examples" / "htmx"
COMMANDS: dict[str, Callable[[int], list[str]]] = {
    "django": lambda port: [*uvicorn, str(port), "--lifespan", "off", "django_fragments:application"],
    "django-wsgi": lambda port: [*gunicorn, f"127.0.0.1:{port}", "django_fragments:wsgi"],
    "flask": lambda port: [*gunicorn, f"127.0.0.1:{port}", "flask_fragments:app"],
}


@pytest.fixture(scope="module", params=COMMANDS)
def site(request: pytest.FixtureRequest, chromium: Any, inngest: DevServer) -> Iterator[str]:
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s browser` does that.")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
    environment |= {"INNGEST_DEV": inngest.url, "PIPELINE_PACE": "0.3"}
    with subprocess.Popen([sys.executable, *COMMANDS[request.param](port)], cwd=FOLDER, env=environment) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"{url}/style.css", trust_env=False)
                    break
                assert time.monotonic() < deadline, "the example did not start"
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def follow(context: Any, address: str) -> Any:
    """A page of the example, which takes htmx from here."""
    page = context.new_page()
    page.route("**/npm/**", lambda route: route.fulfill(path=MODULES / CDN[route.request.url.split("/npm/")[1]]))
    page.goto(address)
    return page


@pytest.mark.parametrize("version", ["htmx2", "htmx4"])
def test_a_report_of_fragments(version: str, site: str, context: Any) -> None:
    """As it is seen from the beginning, by a late joiner, and after a reload."""
    first = follow(context, f"{site}/{version}")
    reloaded = follow(context, first.url)
    for page in (first, reloaded):
        page.wait_for_function("document.querySelectorAll('#lines li').length > 5", timeout=UNTIL)
    reloaded.reload()
    late = follow(context, first.url)
    picture(first, version)
    for page in (first, reloaded, late):
        check_report(page)
    assert first.locator("#lines").inner_text() == late.locator("#lines").inner_text() != ""
    first.reload()
    check_report(first)
    check_accessibility(first)
    picture(first, f"{version}-done", full_page=True)


def check_report(page: Any) -> None:
    """All of a report is on the page when it is ready, each message once."""
    page.wait_for_function("document.querySelector('#message').textContent === 'The report is ready'", timeout=UNTIL)
    assert page.locator("#lines li").count() == 24
    assert page.locator("#lines li").first.text_content().endswith("<read from north.example & stored>")
    assert page.locator("tbody tr").count() == 6
    assert all(text.endswith("MW") for text in page.locator("tbody td.number").all_text_contents())
    assert page.locator("#text").text_content() == (
        "Demand is met in all six regions. The coast exports, <b>the islands</b> import, and nothing is to be done."
    )
    assert page.locator("#text b").count() == 0, "markup in a message has become markup of the page"
    assert page.locator("#progress [role=progressbar]").get_attribute("aria-valuenow") == "100"


MARKUP = '<img src=x onerror="window.hacked = true">'


@pytest.mark.parametrize("app", list(SERVERS)[:1], indirect=True)
def test_markup_in_data_stays_text(app: App, open_page: Callable[..., Opened]) -> None:
    for client in ("htmx2", "htmx4"):
        page = open_page(client, run=f"markup-{client}")
        page.until_subscribed(client)
        page.publish(MARKUP)
        page.until_got(MARKUP)
        assert page.page.evaluate("[document.images.length, window.hacked ?? false]") == [0, False]


@pytest.mark.parametrize("app", list(SERVERS)[:1], indirect=True)
def test_raw_json_swapped_into_a_page_is_markup(app: App, open_page: Callable[..., Opened]) -> None:
    """What docs/clients/htmx.md warns of: JSON is not HTML, and does not escape it."""
    page = open_page("client")
    page.until_subscribed("client")
    page.publish(MARKUP)
    page.until_got(MARKUP)
    raw = json.dumps({"data": MARKUP})
    page.page.evaluate("(raw) => { document.body.innerHTML = JSON.parse(raw).data }", raw)
    page.page.wait_for_function("window.hacked === true", timeout=UNTIL)
