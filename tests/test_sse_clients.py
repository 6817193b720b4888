"""Event streams as clients from elsewhere read them, used as naively as their documentation shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, aconnect_sse
from sseclient import SSEClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from conformance.serving import serving
from inngest_realtime_core import Grant, Realtime, allow_anyone
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_starlette import RealtimeStreamingResponse, realtime_lifespan, realtime_routes
from talk import fresh


@pytest.fixture
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def site(inngest: DevServer, channel: str) -> Iterator[str]:
    """The endpoints, and an encoded stream as the TypeScript SDK's, on uvicorn; heartbeats come 100 times a second."""
    realtime = Realtime(api_base_url=inngest.url)

    async def encoded(request: Request) -> RealtimeStreamingResponse:
        subscription = await realtime.subscribe(channel=channel, topics=["t"])
        return RealtimeStreamingResponse(subscription.get_encoded_stream())

    grant = Grant(channel, ["t"], authorize=allow_anyone, name="grant", heartbeat=0.01)
    routes = [Mount("/realtime", routes=realtime_routes(realtime, [grant])), Route("/encoded", encoded)]
    with serving(Starlette(routes=routes, lifespan=realtime_lifespan(realtime))) as url:
        yield url
        realtime.begin_shutdown()


@contextmanager
def opened(url: str, last_event_id: str = "") -> Iterator[httpx.Response]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with httpx.Client(trust_env=False, timeout=10) as http, http.stream("GET", url, headers=headers) as response:
        yield response


Reader = Callable[[httpx.Response], Iterator[tuple[str, Any, str]]]


def with_httpx_sse(response: httpx.Response) -> Iterator[tuple[str, Any, str]]:
    for event in EventSource(response).iter_sse():
        yield event.event, json.loads(event.data), event.id


def with_sseclient(response: httpx.Response) -> Iterator[tuple[str, Any, str]]:
    for event in SSEClient(response.iter_bytes()).events():
        yield event.event, json.loads(event.data), event.id or ""


@pytest.fixture(params=[with_httpx_sse, with_sseclient])
def read(request: pytest.FixtureRequest) -> Reader:
    return request.param


def test_every_event_has_json_with_a_kind(site: str, inngest: DevServer, channel: str, read: Reader) -> None:
    with opened(f"{site}/realtime/grant/stream") as response:
        events = read(response)
        assert next(events)[:2] == ("ready", {"kind": "ready", "channel": channel, "topics": ["t"]})
        for number in range(3):
            inngest.publish_sync(channel, "t", {"number": number, "text": "a\u2028b\x85c\x0bd"})
            name, data, id = next(events)
            assert (name, data["kind"], data["data"]["number"]) == ("message", "data", number)
            assert data["data"]["text"] == "a\u2028b\x85c\x0bd"
            assert id
        inngest.drop_connections(channel)  # heartbeats come while it connects again
        name, data, _ = next(events)
        assert (name, data["kind"], data["data"]["reason"]) == ("gap", "gap", "reconnect")
        inngest.publish_sync(channel, "t", "last")
        assert next(events)[1]["data"] == "last"


def test_a_naive_reader_of_the_encoded_stream_meets_messages_alone(
    site: str, inngest: DevServer, channel: str, read: Reader
) -> None:
    with opened(f"{site}/encoded") as response:
        for number in range(3):
            inngest.publish_sync(channel, "t", number)
        events = read(response)
        assert [next(events)[1]["data"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("cut_after", range(5))
def test_a_cut_after_any_event_loses_nothing(
    site: str, inngest: DevServer, channel: str, read: Reader, cut_after: int
) -> None:
    """The client keeps the last id that it was given, and comes back with it, each time after so many messages."""
    last_id, seen, published = "", list[object](), 0
    while published < 12 or len(seen) < published:
        with opened(f"{site}/realtime/grant/stream", last_id) as response:
            events = read(response)
            for count in range(1 + cut_after if published < 12 else 1 + published - len(seen)):
                if count and len(seen) == published:
                    inngest.publish_sync(channel, "t", published)
                    published += 1
                _, data, id = next(events)
                last_id = id or last_id
                if data["kind"] != "ready":
                    seen.append(data["data"])
        if published < 12:
            inngest.publish_sync(channel, "t", published)  # while the client is away
            published += 1
    assert seen == list(range(published))


async def test_a_cut_at_any_byte_loses_nothing(realtime: Realtime, server: DevServer) -> None:
    """Whatever part of the body arrives: the last id in it is that of what has been seen whole."""
    channel = fresh()
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        async with aclosing(subscription.get_event_stream()) as stream:
            body = await anext(stream)
            for number in range(3):
                await server.publish(channel, "t", number)
                body += await anext(stream)
        for size in range(body.index(b"\n\n") + 2, len(body) + 1):
            blocks = body[:size].split(b"\n\n")[:-1]
            seen = len(blocks) - 1
            last_id = next(line for line in blocks[-1].split(b"\n") if line.startswith(b"id: "))[4:].decode()
            async with aclosing(subscription.get_event_stream(last_event_id=last_id)) as stream:
                rest = await anext(stream)
                assert f"id: {last_id}\n".encode() in rest
                if seen < 3:
                    missed = await anext(stream)
                    assert missed.count(b"\n\n") == 3 - seen


async def test_httpx_sse_async(site: str, inngest: DevServer, channel: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        async with aconnect_sse(http, "GET", f"{site}/realtime/grant/stream") as source:
            async for event in source.aiter_sse():
                if event.event == "ready":
                    await inngest.publish(channel, "t", "hello")
                else:
                    assert json.loads(event.data)["data"] == "hello"
                    break
