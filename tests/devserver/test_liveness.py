"""PROTOCOL.md section 5: liveness, and readers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator

import pytest
import wsproto
from websockets.exceptions import ConnectionClosed
from wsproto.events import AcceptConnection, Event, Ping, Request, TextMessage

from inngest_realtime_devserver.server import DevServer

from .client import DEADLINE, Client, confirm, end_of, receive_data


class Wire:
    """A WebSocket client that answers nothing by itself and shows every event."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.events: list[Event] = []

    async def next(self) -> Event:
        while not self.events:
            self.connection.receive_data(await asyncio.wait_for(self.reader.read(65_536), DEADLINE))
            self.events.extend(self.connection.events())
        return self.events.pop(0)


@contextlib.asynccontextmanager
async def wire(client: Client, token: str) -> AsyncGenerator[Wire, None]:
    server = client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    wire = Wire(reader, writer)
    target = f"/v1/realtime/connect?token={token}"
    writer.write(wire.connection.send(Request(host=f"{server.host}:{server.port}", target=target)))
    try:
        assert isinstance(await wire.next(), AcceptConnection)
        yield wire
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_the_server_pings_at_once_and_then_regularly_and_never_drops_who_does_not_answer(channel: str) -> None:
    async with DevServer(keepalive=0.05) as server:
        client = Client(server)
        async with client.http, wire(client, await client.token((channel, "t"))) as connection:
            started = time.monotonic()
            for n in range(10):
                assert isinstance(await connection.next(), Ping)
                assert time.monotonic() - started >= n * 0.05 - 0.01
            await client.publish(channel, "t", '"still here"')
            while isinstance(event := await connection.next(), Ping):
                pass
            assert isinstance(event, TextMessage)
            assert "still here" in event.data


async def test_the_first_ping_does_not_wait_for_the_registration(channel: str) -> None:
    async with DevServer(registration_delay=DEADLINE) as server:
        client = Client(server)
        async with client.http, wire(client, await client.token((channel, "t"))) as connection:
            assert isinstance(await connection.next(), Ping)
            assert server.stats().subscriptions == 0


async def test_no_pings_on_a_connection_that_started_without_topics(channel: str) -> None:
    async with DevServer(keepalive=0.01) as server:
        client = Client(server)
        async with (
            client.http,
            wire(client, await client.token()) as quiet,
            wire(client, await client.token((channel, "t"))) as lively,
        ):
            for _ in range(5):
                assert isinstance(await lively.next(), Ping)
            quiet.writer.write(quiet.connection.send(Ping(payload=b"mine")))
            event = await quiet.next()
            assert type(event).__name__ == "Pong"


async def test_pongs_carry_the_payload_of_their_ping_and_are_counted(client: Client, channel: str) -> None:
    async with wire(client, await client.token()) as connection:
        for n in range(3):
            connection.writer.write(connection.connection.send(Ping(payload=b"%d" % n)))
            pong = await connection.next()
            assert getattr(pong, "payload", None) == b"%d" % n
    assert client.server.stats().pings == 3


async def test_who_does_not_read_stalls_the_publishers_of_its_topic_until_its_socket_closes(
    client: Client, channel: str
) -> None:
    async with client.listen((channel, "t")) as reader, wire(client, await client.token((channel, "t"))) as slow:
        # Small buffers make the kernel give up early.
        publishing = asyncio.create_task(fill(client.server, channel))
        received = 0
        while not publishing.done() and received < 200:
            try:
                await asyncio.wait_for(receive_data(reader), 0.5)
                received += 1
            except asyncio.TimeoutError:
                break
        assert received < 200
        assert not publishing.done()
        slow.writer.transport.abort()
        while received < 200:
            await receive_data(reader)
            received += 1
        await asyncio.wait_for(publishing, DEADLINE)


async def fill(server: DevServer, channel: str) -> None:
    for _ in range(200):
        await server.publish(channel, "t", "x" * 200_000)


async def test_dropped_connections_see_the_end_without_a_close_frame(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as dropped, client.listen((f"{channel}:other", "t")) as kept:
        client.server.drop_connections(channel)
        assert await end_of(dropped) is None
        await client.publish(f"{channel}:other", "t", "1")
        assert await receive_data(kept) == 1
        client.server.drop_connections()
        assert await end_of(kept) is None
    await client.server.until(lambda stats: stats.open_connections == 0)


async def test_frozen_connections_stay_open_and_silent(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as frozen:
        client.server.freeze_connections()
        pong = await frozen.ping()
        async with client.listen((channel, "t")) as fresh:
            await client.publish(channel, "t", "1")
            assert await receive_data(fresh) == 1
            await confirm(fresh)
        silence = asyncio.gather(frozen.recv(), pong, return_exceptions=True)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(silence), 0.05)
        frozen.transport.abort()
        assert all(isinstance(outcome, ConnectionClosed) for outcome in await silence)
    await client.server.until(lambda stats: stats.open_connections == 0)


async def test_a_client_that_pings_and_reads_nothing_is_not_read_on(client: Client, channel: str) -> None:
    """Its pongs would wait in the server's memory, as many as it likes."""
    server = client.server
    flood = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        peer.connect((server.host, server.port))
        target = f"/v1/realtime/connect?token={await client.token((channel, 't'))}"
        peer.sendall(flood.send(Request(host=f"{server.host}:{server.port}", target=target)))
        flood.receive_data(await asyncio.to_thread(peer.recv, 1_000))
        pings = b"".join(flood.send(Ping(payload=b"x" * 125)) for _ in range(1_000))
        peer.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 32 * 2**20:
                await asyncio.to_thread(peer.sendall, pings)
                sent += len(pings)
        assert sent < 24 * 2**20
    async with client.listen((channel, "t")):
        pass
