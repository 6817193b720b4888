"""Methods, and what is served beside tokens and streams."""

from __future__ import annotations

import httpx
import pytest

from conformance.client import PREFIX, Client
from conformance.test_endpoint_errors import check

# Of WebDAV, and what nobody knows: the parsers of some servers have a list.
ODD = ("PROPFIND", "REPORT", "QUERY", "FETCH", "X-MADE_UP")
UNSERVED = ("HEAD", "PUT", "PATCH", "DELETE", "TRACE", *ODD)


@pytest.mark.parametrize(("path", "allowed"), [("pipeline/token", "GET, POST"), ("pipeline/stream", "GET")])
async def test_methods_that_are_not_served(client: Client, run_id: str, path: str, allowed: str) -> None:
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)  # those of other tests have ended
    for method in (*UNSERVED, *(["POST"] if path.endswith("stream") else [])):
        response = await client.http.request(method, f"{PREFIX}/{path}", params={"runId": run_id})
        if _is_refused_unseen(method, response):
            continue
        if method == "HEAD":
            assert (response.status_code, response.content) == (405, b"")
        else:
            check(response, 405, "method_not_allowed")
        assert response.headers["allow"] == f"{allowed}, OPTIONS"
    options = await client.http.options(f"{PREFIX}/{path}")
    assert (options.status_code, options.content, options.headers["allow"]) == (204, b"", f"{allowed}, OPTIONS")
    assert (await client.stats())["subscriptions"] == 0


def _is_refused_unseen(method: str, response: httpx.Response) -> bool:
    """Whether the server has not passed the request on."""
    return method in ODD and response.status_code in (400, 501) and "json" not in response.headers["content-type"]


async def test_the_client_for_browsers(client: Client) -> None:
    response = await client.get("client.js")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "max-age" in response.headers["cache-control"]
    assert "export function subscribe" in response.text
    again = await client.get("client.js", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.http.head(f"{PREFIX}/client.js")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(response.content)))
    for method in ("POST", "TRACE", "PROPFIND", "X-MADE_UP"):
        refused = await client.http.request(method, f"{PREFIX}/client.js")
        if not _is_refused_unseen(method, refused):
            check(refused, 405, "method_not_allowed")
            assert refused.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["pipeline/token?full=true", "full/token?"])
async def test_a_full_token(client: Client, run_id: str, path: str) -> None:
    body = (await client.http.get(f"{PREFIX}/{path}&runId={run_id}&topics=tokens")).json()
    assert set(body) == {"key", "apiBaseUrl", "channel", "topics"}
    assert (body["channel"], body["topics"]) == (f"pipeline:{run_id}", ["tokens"])


async def test_tokens_as_axios_and_forms_ask_for_them(client: Client, run_id: str) -> None:
    url = f"{PREFIX}/pipeline/token"
    for response in (
        await client.http.get(url, params={"runId": run_id, "topics[]": ["tokens", "status"]}),
        await client.http.post(url, data={"runId": run_id, "topics[]": ["tokens", "status"]}),
        await client.http.post(url, data={"runId": run_id, "topics": "tokens,status"}),
        await client.http.post(url, json={"runId": run_id, "topics": None}),
    ):
        assert response.status_code == 200, response.text
        assert set(response.json()) == {"key", "apiBaseUrl"}


@pytest.mark.parametrize("wish", ["rewind=0", "rewind=x", "format=xml"])
async def test_a_wish_that_makes_no_sense(client: Client, run_id: str, wish: str) -> None:
    response = await client.http.get(f"{PREFIX}/pipeline/stream?runId={run_id}&{wish}")
    check(response, 422, "invalid_parameter", wish.partition("=")[0])


async def test_a_rewind_is_refused_where_it_is_not_granted(client: Client, run_id: str) -> None:
    for wish in ("5", "all"):
        response = await client.get("pipeline/stream", runId=run_id, rewind=wish)
        check(response, 403, "rewind_not_granted", "rewind")
    check(await client.get("pipeline/token", runId=run_id, rewind=1), 400, "unknown_parameter", "rewind")
