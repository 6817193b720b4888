"""What gets neither token nor stream: one table, asked of both endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conformance.client import PREFIX, Client
from conformance.servers import RunningServer, ServerCase, running
from inngest_realtime_devserver.server import DevServer
from talk import eventually

ROOM = "orgId=acme&number=1"
MEMBER = {"x-user": "member"}


def check(response: httpx.Response, status: int, code: str, parameter: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    error = response.json()["error"]
    assert error.pop("message").endswith(".")
    assert error == {"code": code} | ({} if parameter is None else {"parameter": parameter})


@pytest.fixture(params=["token", "stream"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(
    ("grant", "query", "status", "code", "parameter"),
    [
        ("pipeline", "", 400, "missing_parameter", "runId"),
        ("pipeline", "run=1", 400, "unknown_parameter", "run"),
        ("pipeline", "runId=1&topic=status", 400, "unknown_parameter", "topic"),
        ("pipeline", "runId=1&runId=1", 400, "repeated_parameter", "runId"),
        ("pipeline", "runId=1&run_id=2", 400, "contradictory_parameter", "run_id"),
        ("pipeline", "runId=1&topics=", 400, "empty_topics", "topics"),
        ("pipeline", "runId=1&topics=audit", 403, "topic_not_granted", "topics"),
        ("pipeline", "runId=1&topics=status,nope", 403, "topic_not_granted", "topics"),
        ("pipeline", "runId=", 422, "invalid_parameter", "runId"),
        ("pipeline", "runId=a:b", 422, "invalid_parameter", "runId"),
        ("room", "orgId=acme&number=one", 422, "invalid_parameter", "number"),
        ("room", "orgId=a:1&number=1", 422, "invalid_parameter", "orgId"),
        ("news", "runId=1", 400, "unknown_parameter", "runId"),
        ("nothing", "", 404, "unknown_grant", None),
    ],
)
async def test_a_wrong_request(
    client: Client, inngest: DevServer, endpoint: str, grant: str, query: str, status: int, code: str, parameter: Any
) -> None:
    before = inngest.stats().token_requests
    check(await client.http.get(f"{PREFIX}/{grant}/{endpoint}?{query}"), status, code, parameter)
    assert inngest.stats().token_requests == before


async def test_what_a_request_says_is_no_markup_when_it_is_repeated(client: Client, endpoint: str) -> None:
    """In a page that swaps what is refused into itself, as htmx 4 does."""
    for path, query in (("<b>", {}), ("pipeline", {"<b>": "1"}), ("pipeline", {"runId": "1", "topics": "<b>"})):
        response = await client.http.get(f"{PREFIX}/{path}/{endpoint}", params=query)
        assert "<b>" in str(response.json()["error"])
        assert "<" not in response.text


async def test_whom_authorize_does_not_allow(client: Client, inngest: DevServer, endpoint: str, run_id: str) -> None:
    before = inngest.stats().token_requests
    pipeline = f"{PREFIX}/pipeline/{endpoint}?runId={run_id}"
    check(await client.http.get(pipeline, headers={"x-user": "stranger"}), 403, "forbidden")
    check(await client.http.get(f"{PREFIX}/room/{endpoint}?{ROOM}"), 403, "forbidden")
    check(await client.http.get(f"{PREFIX}/forgetful/{endpoint}?{ROOM}", headers=MEMBER), 403, "forbidden")
    assert inngest.stats().token_requests == before


async def test_an_authorize_that_raises_is_a_server_error(client: Client, endpoint: str) -> None:
    response = await client.http.get(f"{PREFIX}/broken/{endpoint}?{ROOM}")
    assert response.status_code == 500
    assert "private" not in response.text


async def test_an_authorize_may_raise_the_frameworks_own(client: Client, endpoint: str) -> None:
    assert (await client.http.get(f"{PREFIX}/refusing/{endpoint}?{ROOM}")).status_code == 451


async def test_what_authorize_reads_itself_is_no_unknown_parameter(client: Client) -> None:
    response = await client.http.get(f"{PREFIX}/room/token?{ROOM}&access_token=secret", headers=MEMBER)
    assert response.status_code == 200


@pytest.mark.parametrize("body", [b"[]", b"{", b'"runId"', b'{"runId": 1.5}', b'{"runId": null}', b"\xff"])
async def test_a_malformed_body(client: Client, body: bytes) -> None:
    response = await client.post("pipeline/token", content=body)
    check(response, 400, "malformed_body", "runId" if b"runId" in body and body[:1] == b"{" else None)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "inngest_refused"), (403, "inngest_refused"), (500, "inngest_failed")]
)
async def test_inngest_refuses(
    client: Client, server: RunningServer, inngest: DevServer, endpoint: str, run_id: str, status: int, code: str
) -> None:
    inngest.reject_tokens(status)
    try:
        response = await client.get(f"pipeline/{endpoint}", runId=run_id)
    finally:
        inngest.reject_tokens(None)
    check(response, 502, code)
    assert inngest.url not in response.text
    await eventually(lambda: str(status) in server.log)  # some write it from a thread of their own


@pytest.fixture(scope="module")
def stranded(case: ServerCase) -> Iterator[RunningServer]:
    """A server whose Inngest is gone."""
    with DevServer().in_thread() as gone:
        url = gone.url
    with running(case, url) as server:
        yield server


async def test_inngest_is_unreachable(stranded: RunningServer, endpoint: str, run_id: str) -> None:
    async with Client(stranded.url) as client:
        response = await client.get(f"pipeline/{endpoint}", runId=run_id)
        check(response, 503, "inngest_unreachable")
        assert int(response.headers["retry-after"]) > 0


@pytest.mark.departures
async def test_streams_beyond_the_limit(case: ServerCase, inngest: DevServer, run_id: str) -> None:
    limits = {"CONFORMANCE_MAX_STREAMS": "2", "CONFORMANCE_HEARTBEAT": "0.3"}
    with running(case, inngest.url, **limits) as server:
        async with Client(server.url) as client:
            async with client.stream("pipeline/stream", runId=run_id), client.stream("pipeline/stream", runId=run_id):
                for _ in range(3):
                    response = await client.get("pipeline/stream", runId=run_id)
                    check(response, 503, "too_many_streams")
                    assert int(response.headers["retry-after"]) > 0
                assert (await client.get("pipeline/token", runId=run_id)).status_code == 200
            await client.until_stats(lambda stats: stats["subscriptions"] == 0)
            # What was refused takes no place, whatever it was refused for.
            assert (await client.get("pipeline/stream", runId="a:b")).status_code == 422
            async with client.stream("pipeline/stream", runId=run_id), client.stream("pipeline/stream", runId=run_id):
                pass
