"""A plain client of the server, as anybody would write one from PROTOCOL.md: httpx and websockets, nothing of ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from inngest_realtime_devserver.server import DevServer

DEADLINE = 5.0  # seconds for anything to happen


class Client:
    def __init__(self, server: DevServer) -> None:
        self.server = server
        self.http = httpx.AsyncClient(base_url=f"{server.url}/v1/realtime", trust_env=False, timeout=DEADLINE)

    async def token(self, *topics: tuple[str, str], **headers: str) -> str:
        entries = [{"channel": channel, "name": name, "kind": "run"} for channel, name in topics]
        response = await self.http.post("/token", json=entries, headers=headers)
        assert response.status_code == 201, response.text
        jwt: str = response.json()["jwt"]
        return jwt

    def connect(self, token: str | None, *, name: str | None = None, **options: Any) -> connect:
        query = "" if token is None else f"?token={token}"
        url = f"{self.server.url}/v1/realtime/connect{query}".replace("http", "ws", 1)
        if name is not None:
            # Another name for the same address.
            url = url.replace(self.server.host, name, 1)
            options |= {"host": self.server.host, "port": self.server.port}
        options = {"ping_interval": None, "close_timeout": 1.0, "max_size": None, "proxy": None, **options}
        return connect(url, **options)

    @contextlib.asynccontextmanager
    async def listen(self, *topics: tuple[str, str]) -> AsyncGenerator[ClientConnection, None]:
        """A connection whose subscription is proved by a pong."""
        async with self.connect(await self.token(*topics)) as connection:
            await confirm(connection)
            yield connection

    async def publish(
        self, channel: str, topic: str, content: Any, *, content_type: str | None = None, **query: str
    ) -> httpx.Response:
        headers = {} if content_type is None else {"content-type": content_type}
        params = {"channel": channel, "topic": topic, **query}
        return await self.http.post("/publish", params=params, content=content, headers=headers)


async def confirm(connection: ClientConnection) -> None:
    await asyncio.wait_for(await connection.ping(), DEADLINE)


async def receive(connection: ClientConnection) -> str:
    message = await asyncio.wait_for(connection.recv(), DEADLINE)
    assert isinstance(message, str)
    return message


async def receive_data(connection: ClientConnection) -> Any:
    return json.loads(await receive(connection))["data"]


async def end_of(connection: ClientConnection) -> int | None:
    """The close code that the server sent, or None when the stream just ended (1006)."""
    await asyncio.wait_for(connection.wait_closed(), DEADLINE)
    return connection.protocol.close_rcvd.code if connection.protocol.close_rcvd else None


def fresh(name: str = "channel") -> str:
    return f"{name}:{secrets.token_hex(6)}"
