"""Each client of `docs/clients.md` against each adapter, in Chromium: order, types, resume, gap, errors, origins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from browser.conftest import UNTIL, App, Cutter, Opened
from browser.site import OTHER_ORIGIN

Open = Callable[..., Opened]
Cell = Callable[..., None]

STREAMS = ["client", "sse", "htmx2", "htmx4"]
CLIENTS = [*STREAMS, "hook"]
VALUES = [1, 2.5, "żółć 🦄\n\u2028</script>", None, True, {"a": [1, {"b": None}]}, [], ""]


def opened(open_page: Open, client: str, **options: str) -> Opened:
    """The page of a client, certainly subscribed."""
    page = open_page(client, **options)
    page.until_subscribed(client)
    return page


@pytest.mark.parametrize("client", CLIENTS)
def test_order_and_types(client: str, open_page: Open, cell: Cell) -> None:
    cell(client, "order, types")
    page = opened(open_page, client)
    # The SDK hands on null as undefined, which a page's JSON has as null again.
    page.publish(*VALUES, *range(200))
    page.until_got(*VALUES, *range(200))


@pytest.mark.parametrize("client", ["client", "sse"])
def test_a_reload_misses_nothing(client: str, open_page: Open, cell: Cell) -> None:
    cell(client, "reload")
    page = opened(open_page, client)
    page.publish(1, 2)
    page.until_got(1, 2)
    address = page.page.url
    page.page.goto("about:blank")
    page.publish(3)
    page.page.goto(address)
    page.publish(4)
    page.until_got(1, 2, 3, 4)
    assert page.page.evaluate("window.gaps") == []


@pytest.mark.parametrize("client", ["htmx2", "htmx4"])
def test_a_reloaded_page_of_htmx_begins_with_what_the_grant_rewinds(client: str, open_page: Open, cell: Cell) -> None:
    cell(client, "reload")
    page = opened(open_page, client, grant="kept")
    page.publish(1, 2)
    page.until_got(1, 2)
    page.page.reload()
    page.until_got(1, 2)
    page.publish(3)
    page.until_got(1, 2, 3)


def test_a_reloaded_page_of_the_hook_begins_empty(open_page: Open, cell: Cell) -> None:
    """Not a promise of ours: it shows that the documentation tells the truth."""
    cell("hook", "reload", "begins empty")
    page = opened(open_page, "hook")
    page.publish(1)
    page.until_got(1)
    page.page.reload()
    page.until_subscribed("hook")
    page.publish(2)
    page.until_got(2)


@pytest.mark.parametrize("client", STREAMS)
def test_a_lost_connection_resumes(client: str, open_page: Open, cutter: Cutter, cell: Cell) -> None:
    cell(client, "cut")
    page = opened(open_page, client, through=cutter.proxy.url)
    page.publish(1)
    page.until_got(1)
    cutter.cut()
    page.until("window.state === 'reconnecting'")
    page.publish(2)
    cutter.mend()
    page.until_got(1, 2)
    assert page.page.evaluate("window.gaps") == []


@pytest.mark.parametrize("client", STREAMS)
def test_a_gap_is_told(client: str, open_page: Open, app: App, cell: Cell) -> None:
    cell(client, "gap")
    page = opened(open_page, client)
    app.inngest.drop_connections(f"pipeline:{page.run_id}")
    page.until("window.gaps.length === 1")
    page.publish(1)
    page.until_got(1)
    assert page.page.evaluate("window.gaps") == ["reconnect"]


def test_the_hook_is_not_told_of_what_it_misses_while_it_is_cut_off(open_page: Open, app: App, cell: Cell) -> None:
    """Not a promise of ours: it shows that the documentation tells the truth."""
    cell("hook", "gap", "not told")
    page = opened(open_page, "hook")
    page.publish(1)
    page.until_got(1)
    app.inngest.drop_connections(f"pipeline:{page.run_id}")
    page.publish(2)
    page.until("window.state !== 'open'")
    page.until_subscribed("hook")
    page.publish(3)
    page.until_got(1, 3)
    assert page.page.evaluate("window.error ?? null") is None


@pytest.mark.parametrize("client", CLIENTS)
def test_a_restart_of_the_server(client: str, open_page: Open, app: App, cell: Cell) -> None:
    cell(client, "server restart")
    page = opened(open_page, client)
    page.publish(1)
    page.until_got(1)
    app.stop()
    if client == "hook":
        page.publish(2)  # it is connected to Inngest itself
        page.until_got(1, 2)
        app.start()
        return
    page.until("window.state === 'reconnecting'")
    app.start()
    # The record of the old process is gone with it (Redis would have kept it), and the page is told so.
    page.until("window.gaps.length === 1 && window.state === 'open'")
    page.publish(2)
    page.until_got(1, 2)
    assert page.page.evaluate("window.gaps") == ["expired"]


@pytest.mark.parametrize("client", CLIENTS)
def test_another_origin(client: str, open_page: Open, cell: Cell) -> None:
    cell(client, "other origin")
    page = opened(open_page, client, origin=OTHER_ORIGIN)
    page.publish(1, 2)
    page.until_got(1, 2)


def test_an_endpoint_error_ends_client_js(open_page: Open, cell: Cell) -> None:
    cell("client", "endpoint error")
    for origin in (None, OTHER_ORIGIN):
        page = open_page("client", run="secret", origin=origin)
        page.until("window.state === 'closed'")
        assert page.page.evaluate("[window.error, window.states]") == [
            {"status": 403, "code": "forbidden"},
            ["connecting", "closed"],
        ]


def test_an_endpoint_error_ends_an_event_source(open_page: Open, cell: Cell) -> None:
    cell("sse", "endpoint error")
    open_page("sse", run="secret").until("window.state === 'closed'")


def test_an_endpoint_error_is_an_error_of_the_hook(open_page: Open, cell: Cell) -> None:
    cell("hook", "endpoint error")
    open_page("hook", run="secret").until("window.state === 'error' && window.error === 'forbidden'")


def asks_for_the_stream(request: Any) -> bool:
    return "/stream?" in request.url


def test_htmx_2_asks_again_after_an_endpoint_error(open_page: Open, cell: Cell) -> None:
    """Not a promise of ours: it shows that the documentation tells the truth. So does the next test."""
    cell("htmx2", "endpoint error", "asks again")
    page = open_page("htmx2", run="secret")
    for _ in range(3):
        page.page.wait_for_event("request", asks_for_the_stream, timeout=UNTIL)


def test_htmx_4_ends_with_an_endpoint_error_and_swaps_it_in(open_page: Open, cell: Cell) -> None:
    cell("htmx4", "endpoint error", "ends")
    page = open_page("htmx4", run="secret", swap="innerHTML")
    page.until("document.getElementById('page').textContent.includes('forbidden')")
    with pytest.raises(Exception, match="Timeout"):
        page.page.wait_for_event("request", asks_for_the_stream, timeout=3_000)


WORKER = """
import { subscribe } from "/api/realtime/client.js";
subscribe("/api/realtime/pipeline/stream", {
  params: { runId: location.hash.slice(1) },
  onMessage: ({ data }) => postMessage(data),
  onState: (state) => postMessage(state),
});
"""


def test_client_js_runs_in_a_worker(open_page: Open) -> None:
    """Which has no document, so that addresses are relative to the worker's own."""
    page = opened(open_page, "client")
    page.page.route("**/worker.js", lambda route: route.fulfill(body=WORKER, content_type="text/javascript"))
    page.page.evaluate(
        """(run) => {
            window.told = [];
            new Worker(`/worker.js#${run}`, { type: "module" }).onmessage = ({ data }) => told.push(data);
        }""",
        page.run_id,
    )
    page.until("window.told.includes('open')")
    page.publish(1)
    page.until("window.told.at(-1) === 1")
    assert page.page.evaluate("window.told") == ["connecting", "open", 1]


def test_client_js_sends_headers_to_another_origin(open_page: Open) -> None:
    page = opened(open_page, "client", origin=OTHER_ORIGIN, header="yes")
    page.publish(1)
    page.until_got(1)


HIDE = "Object.defineProperty(document, 'visibilityState', {value: '%s', configurable: true});"
HIDE += "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
HIDE += "document.dispatchEvent(new Event('visibilitychange'))"


def test_client_js_pauses_while_it_is_hidden(open_page: Open, cell: Cell) -> None:
    cell("client", "hidden tab")
    page = opened(open_page, "client", pause="yes")
    page.publish(1)
    page.until_got(1)
    page.page.evaluate(HIDE % ("hidden", "true"))
    page.until("window.state === 'reconnecting' && window.error.code === 'hidden'")
    page.publish(2, 3)
    page.page.evaluate(HIDE % ("visible", "false"))
    page.until_got(1, 2, 3)
    assert page.page.evaluate("window.gaps") == []


@pytest.mark.parametrize("client", ["sse", "htmx2"])
def test_an_event_source_reads_on_while_it_is_hidden(client: str, open_page: Open, cell: Cell) -> None:
    cell(client, "hidden tab")
    page = opened(open_page, client)
    page.page.evaluate(HIDE % ("hidden", "true"))
    page.publish(1)
    page.until_got(1)


def test_htmx_4_pauses_while_it_is_hidden(open_page: Open, cell: Cell) -> None:
    cell("htmx4", "hidden tab")
    page = opened(open_page, "htmx4")
    page.publish(1)
    page.until_got(1)
    with page.page.expect_event("requestfailed", asks_for_the_stream, timeout=UNTIL):
        page.page.evaluate(HIDE % ("hidden", "true"))
    page.publish(2, 3)
    page.page.evaluate(HIDE % ("visible", "false"))
    page.until_got(1, 2, 3)
    assert page.page.evaluate("window.gaps") == []


def test_the_hook_misses_what_comes_while_it_is_hidden(open_page: Open, cell: Cell) -> None:
    """Not a promise of ours: it shows that the documentation tells the truth."""
    cell("hook", "hidden tab", "misses it")
    page = opened(open_page, "hook")
    page.publish(1)
    page.until_got(1)
    page.page.evaluate(HIDE % ("hidden", "true"))
    page.until("window.state === 'paused'")
    page.publish(2)
    page.page.evaluate(HIDE % ("visible", "false"))
    page.until_subscribed("hook")
    page.publish(3)
    page.until_got(1, 3)
