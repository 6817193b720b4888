"""The server as an object: starting, stopping, threads, counts and controls."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import threading

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import InvalidStatus

from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_devserver.server import DevServer

from .client import Client, confirm, receive, receive_data


async def test_it_leaves_nothing_behind(channel: str) -> None:
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = {name: (log.handlers[:], log.level) for name in ("", "uvicorn", "uvicorn.error", "uvicorn.access")
               if (log := logging.getLogger(name))}  # fmt: skip
    sockets = psutil.Process().num_fds()
    async with DevServer() as server:
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        client = Client(server)
        async with client.http, client.listen((channel, "t")) as connection:
            assert server.stats().open_connections == 1
            connection.transport.abort()
            await server.until(lambda stats: stats.open_connections == 0)
    assert server.stats().subscriptions == 0
    await asyncio.sleep(0)
    ours = {task for task in asyncio.all_tasks() - tasks if "websockets" not in repr(task)}
    assert not ours
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() <= sockets
    assert {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in loggers} == loggers


def test_in_a_thread_of_its_own() -> None:
    threads = threading.active_count()
    with DevServer().in_thread() as server:
        response = httpx.post(f"{server.url}/v1/realtime/token", json=[], trust_env=False)
        assert response.status_code == 201
        assert server.stats().token_requests == 1
        server.publish_sync("c", "t", 1)
        server.inject_sync("c", "t", "x")
        server.begin_closing_sync(0.0)
        server.drop_connections()
        assert server.until_sync(lambda stats: stats.publishes == 1).connects == 0
    assert threading.active_count() == threads
    with pytest.raises(httpx.ConnectError):
        httpx.post(f"{server.url}/v1/realtime/token", json=[], trust_env=False)


async def test_from_a_loop_to_a_server_on_another_thread(channel: str) -> None:
    with DevServer().in_thread() as server:
        client = Client(server)
        async with client.http, client.listen((channel, "t")) as connection:
            await server.publish(channel, "t", {"a": [1]}, metadata='{"m":1}', run_id="01JABCDEFGHJKMNPQRSTVWXYZ0")
            assert await receive_data(connection) == {"a": [1]}
            await server.publish_stream(channel, "t", ["a", b"b"])
            kinds = [json.loads(await receive(connection))["kind"] for _ in range(4)]
            assert kinds == ["datastream-start", "chunk", "chunk", "datastream-end"]
            server.drop_connections()
            await connection.wait_closed()
            await server.until(lambda stats: stats.open_connections == 0)


def test_a_failure_of_the_block_or_of_the_start_ends_the_thread() -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), DevServer().in_thread():
        raise ZeroDivisionError
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        DevServer(port=taken.getsockname()[1]).in_thread(),
    ):
        pytest.fail("started on a taken port")
    assert threading.active_count() == threads


async def test_a_taken_port_is_an_error_and_a_later_start_works() -> None:
    server = DevServer()
    async with server, server.__class__() as other:
        with pytest.raises(ConfigurationError, match="running already"):
            await server.__aenter__()
        with pytest.raises(OSError, match="in use"):
            await DevServer(port=other.port).__aenter__()


async def test_without_a_running_server_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="async with server"):
        await DevServer().publish("c", "t", 1)
    with pytest.raises(ConfigurationError, match="async with server"):
        DevServer().drop_connections()


async def test_a_sync_method_on_the_servers_own_loop_is_an_error_and_no_deadlock(server: DevServer) -> None:
    for call in (lambda: server.publish_sync("c", "t", 1), lambda: server.begin_closing_sync()):
        with pytest.raises(ConfigurationError, match="without _sync"):
            call()


async def test_the_record_is_bounded_and_reset(channel: str) -> None:
    async with DevServer(record=3) as server:
        for number in range(5):
            await server.publish(channel, "t", number)
        await server.publish("other", "t", "x")
        assert [message.data for message in server.published(channel)] == [3, 4]
        assert [message.data for message in server.published(topic="t")] == [3, 4, "x"]
        server.reject_tokens(500)
        server.reject_publishes(500)
        server.reset()
        assert (server.published(), server.stats().publishes) == ([], 0)
        client = Client(server)
        async with client.http:
            await client.token((channel, "t"))
            assert (await client.publish(channel, "t", "1")).status_code == 200
        server.reset()
        await server.publish_stream(channel, "s", ["ab"])
        kinds = [message.kind for message in server.published(channel, "s")]
        assert kinds == ["datastream-start", "chunk", "datastream-end"]


async def test_the_url_of_an_address_that_means_all_is_one_that_can_be_called() -> None:
    async with DevServer("0.0.0.0", allow_remote=True) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(server.url)).status_code == 200


async def test_counts(client: Client, channel: str) -> None:
    server = client.server
    async with client.listen((channel, "a"), (channel, "b")) as connection:
        await confirm(connection)
        await client.publish(channel, "a", "1")
        stats = server.stats()
        assert (stats.open_connections, stats.connects, stats.token_requests) == (1, 1, 1)
        assert (stats.publishes, stats.subscriptions, stats.pings) == (1, 2, 2)
    stats = await server.until(lambda stats: stats.open_connections == 0)
    assert (stats.connects, stats.subscriptions) == (1, 0)
    with pytest.raises(TimeoutError, match="connects=1"):
        await server.until(lambda stats: stats.connects == 2, timeout=0.01)


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_rejecting_tokens_and_connects(client: Client, channel: str, status: int) -> None:
    server, token = client.server, await client.token((channel, "t"))
    server.reject_tokens(status)
    server.reject_connects(status)
    response = await client.http.post("/token", json=[])
    assert response.status_code == status
    assert (response.text == "Authentication failed\n") == (status == 401)
    with pytest.raises(InvalidStatus) as caught:
        await client.connect(token)
    assert caught.value.response.status_code == status
    assert (await client.http.get("/sse", params={"token": token})).status_code == status
    server.reject_tokens(None)
    server.reject_connects(None)
    async with client.listen((channel, "t")):
        assert server.stats().open_connections == 1


async def test_any_frame_can_be_injected(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.server.inject(channel, "t", '{"kind":"new","x":1}')
        assert await receive(connection) == '{"kind":"new","x":1}'
        await client.server.publish(channel, "t", {"ok": True}, kind="run")
        assert (await receive(connection)).startswith('{"kind":"run","data":{"ok":true},')


async def test_tokens_never_reach_the_log(client: Client, channel: str, caplog: pytest.LogCaptureFixture) -> None:
    token = await client.token((channel, "t"))
    with caplog.at_level(logging.DEBUG):
        for logger in ("websockets", "httpx", "httpcore"):
            logging.getLogger(logger).propagate = False
        try:
            async with client.connect(token) as connection:
                await confirm(connection)
            await client.http.get("/connect", params={"token": token})
        finally:
            for logger in ("websockets", "httpx", "httpcore"):
                logging.getLogger(logger).propagate = True
    assert token not in caplog.text
