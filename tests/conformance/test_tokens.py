from __future__ import annotations

from typing import Any

import pytest

from conformance.client import Client
from inngest_realtime_core._api.client_token import ClientSubscriptionToken
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer


def granted(body: dict[str, str]) -> list[tuple[str, str]]:
    """The (channel, topic) pairs that a token is for."""
    assert set(body) == {"key", "apiBaseUrl"}
    claims = ClientSubscriptionToken(body["key"], body["apiBaseUrl"]).read_claims_unverified()
    return [(topic.channel, topic.name) for topic in claims.topics]


async def test_a_token_covers_the_granted_topics_only(client: Client, inngest: DevServer, run_id: str) -> None:
    response = await client.get("pipeline/token", runId=run_id)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["apiBaseUrl"] == inngest.url
    assert granted(response.json()) == [(f"pipeline:{run_id}", "status"), (f"pipeline:{run_id}", "tokens")]


async def test_a_token_opens_a_subscription(client: Client, inngest: DevServer, run_id: str) -> None:
    token = (await client.get("pipeline/token", runId=run_id)).json()
    async with (
        Realtime() as realtime,
        realtime.subscribe(
            channel=f"pipeline:{run_id}", topics=["tokens"], key=token["key"], api_base_url=token["apiBaseUrl"]
        ) as subscription,
    ):
        await inngest.publish(f"pipeline:{run_id}", "tokens", "hello")
        assert (await anext(aiter(subscription))).data == "hello"


@pytest.mark.parametrize("spelling", ["runId", "run_id"])
async def test_parameters_are_camel_or_snake(client: Client, run_id: str, spelling: str) -> None:
    for response in (
        await client.get("pipeline/token", **{spelling: run_id}),
        await client.post("pipeline/token", **{spelling: run_id}),
        await client.post("pipeline/token", {spelling: run_id}),
    ):
        assert response.status_code == 200
        assert granted(response.json())[0][0] == f"pipeline:{run_id}"


async def test_a_body_may_hold_numbers_and_a_list_of_topics(client: Client, number: int) -> None:
    response = await client.http.post(
        "/api/realtime/room/token",
        json={"orgId": "acme", "number": number, "topics": ["events"]},
        headers={"x-user": "member"},
    )
    assert granted(response.json()) == [(f"room:acme:{number}", "events")]


async def test_a_body_may_be_a_form(client: Client, run_id: str) -> None:
    """As forms, `URLSearchParams` and axios send it, and `FormData`."""
    fields = {"runId": run_id, "topics[]": ["tokens", "status"]}
    parts = [("runId", (None, run_id)), ("topics[]", (None, "tokens")), ("topics[]", (None, "status"))]
    for body in ({"data": fields}, {"files": parts}):
        response = await client.http.post("/api/realtime/pipeline/token", **body)
        assert response.status_code == 200, response.text
        assert granted(response.json()) == [(f"pipeline:{run_id}", "tokens"), (f"pipeline:{run_id}", "status")]


@pytest.mark.parametrize("topics", ["tokens,status", ["tokens", "status"]])
async def test_topics_are_a_subset(client: Client, run_id: str, topics: Any) -> None:
    one = await client.get("pipeline/token", runId=run_id, topics="tokens")
    assert granted(one.json()) == [(f"pipeline:{run_id}", "tokens")]
    two = await client.get("pipeline/token", runId=run_id, topics=topics)
    assert granted(two.json()) == [(f"pipeline:{run_id}", "tokens"), (f"pipeline:{run_id}", "status")]


async def test_a_static_channel_needs_no_parameters(client: Client) -> None:
    assert granted((await client.get("news/token")).json()) == [("news", "headline")]


async def test_a_value_is_text_whatever_it_holds(client: Client) -> None:
    for value in ("zażółć 🦄", "a+b&c=d", "../x", "%41"):
        response = await client.get("pipeline/token", runId=value)
        assert granted(response.json())[0][0] == f"pipeline:{value}"


async def test_other_methods_are_refused(client: Client, run_id: str) -> None:
    for method in ("HEAD", "PUT", "DELETE"):
        response = await client.http.request(method, "/api/realtime/pipeline/token", params={"runId": run_id})
        assert response.status_code == 405
