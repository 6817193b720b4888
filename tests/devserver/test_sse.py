"""PROTOCOL.md section 7: GET sse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from inngest_realtime_devserver.server import DevServer

from .client import DEADLINE, Client, receive


class Events:
    """The body of a response, read up to blank lines."""

    def __init__(self, response: httpx.Response) -> None:
        self.chunks: AsyncIterator[bytes] = response.aiter_raw()
        self.buffer = b""

    async def next(self) -> bytes:
        while b"\n\n" not in self.buffer:
            self.buffer += await asyncio.wait_for(self.chunks.__anext__(), DEADLINE)
        event, _, self.buffer = self.buffer.partition(b"\n\n")
        return event + b"\n\n"


async def test_a_comment_at_once_and_then_data_lines(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    async with client.http.stream("GET", "/sse", params={"token": token}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        events = Events(response)
        assert await events.next() == b":\n\n"
        assert client.server.stats().subscriptions == 1
        async with client.listen((channel, "t")) as connection:
            await client.publish(channel, "t", '{"x": 2.50}')
            assert await events.next() == f"data: {await receive(connection)}\n\n".encode()
        await client.http.post("/publish/tee", params={"channel": channel}, content="x")
        await client.publish(channel, "t", "2")
        assert json.loads((await events.next()).removeprefix(b"data: "))["data"] == 2
    await client.server.until(lambda stats: stats.open_connections == 0 and stats.subscriptions == 0)


async def test_a_bearer_token_will_do(client: Client, channel: str) -> None:
    headers = {"authorization": f"Bearer {await client.token((channel, 't'))}"}
    async with client.http.stream("GET", "/sse", headers=headers) as response:
        assert response.status_code == 200


async def test_without_a_token_it_is_401(client: Client) -> None:
    response = await client.http.get("/sse")
    assert response.status_code == 401
    assert response.text == '{"error":"Not authenticated","data":null,"status":401}\n'


async def test_keepalives_are_comments(channel: str) -> None:
    async with DevServer(keepalive=0.02) as server:
        client = Client(server)
        async with client.http:
            token = await client.token((channel, "t"))
            async with client.http.stream("GET", "/sse", params={"token": token}) as response:
                events = Events(response)
                assert [await events.next() for _ in range(4)] == [b":\n\n"] * 4


async def test_raw_bytes_arrive_as_they_are(client: Client, channel: str) -> None:
    token = await client.token((channel, "$stream"))
    async with client.http.stream("GET", "/sse", params={"token": token}) as response:
        events = Events(response)
        await events.next()
        await client.http.post("/publish/tee", params={"channel": channel}, content="event: x\ndata: y\n\n")
        assert await events.next() == b"event: x\ndata: y\n\n"


async def test_closing_is_announced_and_ends_the_response(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    async with client.http.stream("GET", "/sse", params={"token": token}) as response:
        events = Events(response)
        await events.next()
        await client.server.begin_closing(0.05)
        assert b'"kind":"closing"' in await events.next()
        with pytest.raises(StopAsyncIteration):
            await events.next()


async def test_a_dropped_response_is_cut_off(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    async with client.http.stream("GET", "/sse", params={"token": token}) as response:
        events = Events(response)
        await events.next()
        client.server.drop_connections(channel)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await events.next()


async def test_an_open_response_does_not_delay_the_stop(channel: str) -> None:
    server = DevServer()
    async with server:
        client = Client(server)
        token = await client.token((channel, "t"))
        response = await client.http.send(
            client.http.build_request("GET", "/sse", params={"token": token}), stream=True
        )
        events = Events(response)
        await events.next()
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 0.5
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await events.next()
    await client.http.aclose()
