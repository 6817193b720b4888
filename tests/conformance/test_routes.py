"""Routes of an application's own, made with the adapter's helpers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from conformance.client import Client, EventStream
from inngest_realtime_core import ClientSubscriptionToken
from inngest_realtime_devserver.server import DevServer

STRANGER = {"x-user": "stranger"}


@contextlib.asynccontextmanager
async def own(client: Client, path: str, last_event_id: str | None = None, **parameters: Any) -> Any:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with client.http.stream("GET", f"/own/{path}", params=parameters, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
        yield EventStream(response)


@pytest.fixture(autouse=True)
async def nothing_stays(client: Client, inngest: DevServer, run_id: str) -> AsyncGenerator[None, None]:
    """Ends what a test leaves: without a heartbeat a server of threads notices a departure by the next message."""
    before = (await client.stats())["subscriptions"]
    yield
    with anyio.fail_after(10):
        while (await client.stats())["subscriptions"] > before:
            await inngest.publish(f"pipeline:{run_id}", "tokens", "who is there?")


KINDS = pytest.mark.parametrize("kind", ["", "other/"], ids=["", "other"])


@KINDS
async def test_a_token_is_handed_over(client: Client, inngest: DevServer, run_id: str, kind: str) -> None:
    response = await client.http.get(f"/own/{run_id}/{kind}token?theme=dark&topics=tokens")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["apiBaseUrl"] == inngest.url
    claims = ClientSubscriptionToken(response.json()["key"], "").read_claims_unverified()
    assert [(topic.channel, topic.name) for topic in claims.topics] == [(f"pipeline:{run_id}", "tokens")]


@pytest.mark.parametrize("endpoint", ["token", "stream", "other/token", "other/stream"])
async def test_a_request_that_gets_nothing(client: Client, inngest: DevServer, run_id: str, endpoint: str) -> None:
    before = inngest.stats().token_requests
    for path, headers, status, code, parameter in (
        (f"{run_id}/{endpoint}", STRANGER, 403, "forbidden", None),
        (f"{run_id}/{endpoint}?topics=audit", {}, 403, "topic_not_granted", "topics"),
        (f"a:b/{endpoint}", {}, 422, "invalid_parameter", "runId"),
    ):
        response = await client.http.get(f"/own/{path}", headers=headers)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "no-store"
        detail = response.json().get("error") or response.json()["detail"]
        assert (detail["code"], detail.get("parameter")) == (code, parameter)
    assert inngest.stats().token_requests == before


async def test_an_error_of_a_route_is_answered(client: Client, run_id: str) -> None:
    response = await client.http.get(f"/own/{run_id}/error")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_parameter")
    assert response.json()["error"]["parameter"] == "runId"
    assert response.headers["content-type"] == "application/json"


@KINDS
async def test_a_stream_is_handed_over_and_resumes(client: Client, inngest: DevServer, run_id: str, kind: str) -> None:
    channel = f"pipeline:{run_id}"
    async with own(client, f"{run_id}/{kind}stream") as stream:
        await stream.next_block()
        await inngest.publish(channel, "tokens", 0)
        last = (await stream.next_event()).id
    assert last
    await inngest.publish(channel, "tokens", 1)
    async with own(client, f"{run_id}/{kind}stream", last) as stream:
        assert (await stream.next_event()).json["data"] == 1
    async with own(client, f"{run_id}/{kind}stream", lastEventId=last) as stream:
        assert (await stream.next_event()).json["data"] == 1
    async with own(client, f"{run_id}/{kind}stream", "unknown") as stream:
        assert (await stream.next_event()).event == "gap"


async def test_messages_that_are_iterated_have_ids_and_resume(client: Client, inngest: DevServer, run_id: str) -> None:
    channel = f"pipeline:{run_id}"

    async def read(count: int, last: str | None = None, **parameters: Any) -> list[tuple[Any, str | None]]:
        async with own(client, f"{run_id}/iterated", last, **parameters) as stream:
            events = [await stream.next_event() for _ in range(count)]
            return [(event.json["data"], event.id) for event in events]

    before = (await client.stats())["subscriptions"]
    # Under WSGI a body's headers leave with its first bytes: what came before them belongs to the client all the same.
    reading = asyncio.create_task(read(2))
    await client.until_stats(lambda stats: stats["subscriptions"] > before)
    for number in range(2):
        await inngest.publish(channel, "tokens", number)
    (zero, first), (one, last) = await reading
    assert (zero, one) == (0, 1)
    await inngest.publish(channel, "tokens", 2)  # while the client is away
    assert [data for data, _ in await read(2, first)] == [1, 2]
    assert [data for data, _ in await read(2, lastEventId=first)] == [1, 2]
    ((two, _),) = await read(1, last)
    assert two == 2


async def test_a_response_renders(client: Client, inngest: DevServer, run_id: str) -> None:
    channel = f"pipeline:{run_id}"
    async with own(client, f"{run_id}/rendered") as stream:
        assert (await stream.next_block()).json["kind"] == "ready"
        await inngest.publish(channel, "status", {"message": "no fragment"})
        await inngest.publish(channel, "tokens", "<b>")
        event = await stream.next_event()
        assert (event.event, event.data) == ("tokens", "<li>\n&lt;b&gt;\n</li>")
    await inngest.publish(channel, "tokens", "while away")
    async with own(client, f"{run_id}/rendered", event.id) as stream:
        again = await stream.next_event()
        assert (again.event, again.data) == ("tokens", "<li>\nwhile away\n</li>")


async def test_a_response_of_ones_own_resumes(client: Client, inngest: DevServer, run_id: str) -> None:
    channel = f"pipeline:{run_id}"
    async with own(client, f"{run_id}/response") as stream:
        await stream.next_block()
        await inngest.publish(channel, "tokens", 0)
        last = (await stream.next_event()).id
    await inngest.publish(channel, "tokens", 1)
    for resumed in (own(client, f"{run_id}/response", last), own(client, f"{run_id}/response", lastEventId=last)):
        async with resumed as stream:
            assert (await stream.next_event()).json["data"] == 1


async def test_a_response_begins_where_its_subscription_began(client: Client, inngest: DevServer, run_id: str) -> None:
    """The route waits for a second between the two."""
    channel = f"pipeline:{run_id}"
    subscriptions = (await client.stats())["subscriptions"]

    async def read() -> list[Any]:
        async with own(client, f"{run_id}/response") as stream:
            return [(await stream.next_event()) for _ in range(4)]

    reading = asyncio.create_task(read())
    await client.until_stats(lambda stats: stats["subscriptions"] > subscriptions)
    for number in range(3):
        await inngest.publish(channel, "tokens", number)
    while not reading.done():
        await inngest.publish(channel, "tokens", "later")
        await asyncio.sleep(0.05)
    events = reading.result()
    assert [event.json["data"] for event in events] == [0, 1, 2, "later"]
    assert all(event.id for event in events), "each can be resumed from"
    assert len({event.id for event in events}) == 4
