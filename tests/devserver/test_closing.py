"""PROTOCOL.md section 3: the end of a server, announced (`closing`) and not."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from inngest_realtime_devserver.server import DevServer

from .client import Client, confirm, end_of, receive, receive_data


async def test_closing_is_announced_and_data_flows_for_the_grace_period(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as old:
        started = time.monotonic()
        await client.server.begin_closing(0.3)
        frame = await receive(old)
        created_at = json.loads(frame)["created_at"]
        assert frame == f'{{"kind":"closing","data":"","created_at":"{created_at}","topic":""}}'
        await client.publish(channel, "t", "1")
        assert await receive_data(old) == 1
        await confirm(old)
        assert await end_of(old) is None
        assert time.monotonic() - started >= 0.29


async def test_a_successor_behind_the_same_address_takes_over(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as old:
        await client.server.begin_closing(0.2)
        assert json.loads(await receive(old))["kind"] == "closing"
        async with client.listen((channel, "t")) as new:
            await client.publish(channel, "t", "1")
            assert [await receive_data(old), await receive_data(new)] == [1, 1]
            assert await end_of(old) is None
            await client.publish(channel, "t", "2")
            assert await receive_data(new) == 2


async def test_a_connect_to_the_closing_server_gets_101_and_is_dropped(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")):
        await client.server.begin_closing(accept_new=False)
        token = await client.token((channel, "t"))
        async with client.connect(token) as refused:
            assert await end_of(refused) is None
        assert client.server.stats().connects == 1


async def test_the_grace_period_is_five_minutes_by_default(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as old:
        await client.server.begin_closing()
        assert json.loads(await receive(old))["kind"] == "closing"
        await client.publish(channel, "t", "1")
        assert await receive_data(old) == 1


async def test_a_plain_stop_sends_nothing_and_the_port_is_refused_at_once(channel: str) -> None:
    server = DevServer()
    async with server:
        client = Client(server)
        async with client.http:
            token = await client.token((channel, "t"))
        connection = await client.connect(token)
        await confirm(connection)
        started = time.monotonic()
    assert time.monotonic() - started < 0.5
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(server.host, server.port)
    assert await end_of(connection) is None
    assert connection.close_code == 1006


async def test_a_token_survives_a_restart_on_the_same_port(channel: str) -> None:
    server = DevServer()
    async with server:
        client, port = Client(server), server.port
        async with client.http:
            token = await client.token((channel, "t"))
            await server.begin_closing(accept_new=False)
    async with server:
        assert server.port == port
        async with client.connect(token) as connection:
            await confirm(connection)
            await server.publish(channel, "t", 1)
            assert await receive_data(connection) == 1
