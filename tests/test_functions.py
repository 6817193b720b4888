"""The documented standalone forms."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import inngest
import pytest

from inngest_realtime_core import (
    Channel,
    Realtime,
    UnreachableError,
    get_client_subscription_token,
    get_client_subscription_token_sync,
    subscribe,
    subscribe_sync,
    topic,
)
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh, receive

App = inngest.Inngest | Realtime | None
MakeApp = Callable[[DevServer, pytest.MonkeyPatch], App]


class Thread(Channel, name="thread:{thread_id}"):
    thread_id: int
    messages = topic(str)


def of_the_inngest_package(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> App:
    return inngest.Inngest(app_id="app", api_base_url=server.url, is_production=False)


def a_realtime(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> App:
    return Realtime(api_base_url=server.url, linger=0)


def the_environment(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("INNGEST_DEV", server.url)
    return None


@pytest.fixture(params=[of_the_inngest_package, a_realtime, the_environment])
def app(request: pytest.FixtureRequest, server: DevServer, monkeypatch: pytest.MonkeyPatch) -> App:
    make: MakeApp = request.param
    return make(server, monkeypatch)


async def close(app: App) -> None:
    if isinstance(app, Realtime):
        await app.close()
        await asyncio.to_thread(app.close_sync)


async def test_tokens(server: DevServer, app: App) -> None:
    token = await get_client_subscription_token(app, channel=Thread(thread_id=1), topics=["messages"])
    assert token.api_base_url == server.url
    synced = await asyncio.to_thread(
        lambda: get_client_subscription_token_sync(app, channel="thread:1", topics=["messages"])
    )
    assert synced.key.count(".") == 2
    await close(app)


async def test_subscribing(server: DevServer, app: App, channel: str) -> None:
    async with subscribe(app=app, channel=channel, topics=["t"]) as subscription:
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]
    awaited = await subscribe(app=app, channel=channel, topics=["t"])
    await server.publish(channel, "t", 2)
    assert await receive(awaited, 1) == [2]
    await awaited.unsubscribe("done")
    await server.until(lambda stats: stats.open_connections == 0)
    await close(app)


async def test_callbacks_live_on(server: DevServer, app: App, channel: str) -> None:
    seen: list[Any] = []
    subscription = await subscribe(
        app=app, channel=channel, topics=["t"], on_message=lambda message: seen.append(message.data)
    )
    gc.collect()
    await server.publish(channel, "t", 1)
    await eventually(lambda: seen == [1])
    await subscription.close()
    await close(app)


async def test_subscribing_in_a_thread(server: DevServer, app: App, channel: str) -> None:
    def read() -> list[Any]:
        with subscribe_sync(app=app, channel=channel, topics=["t"]) as subscription:
            server.publish_sync(channel, "t", 1)
            for message in subscription:
                return [message.data]
        return []

    assert await asyncio.to_thread(read) == [1]
    await server.until(lambda stats: stats.open_connections == 0)
    await close(app)


async def test_a_key_and_an_address_are_all_it_takes(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        token = await get_client_subscription_token(realtime, channel=channel, topics=["t"])
    async with subscribe(channel=channel, topics=["t"], key=token.key, api_base_url=token.api_base_url) as subscription:
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]


async def test_a_failure_leaves_nothing(channel: str) -> None:
    with pytest.raises(UnreachableError):
        await subscribe(channel=channel, topics=["t"], api_base_url="http://127.0.0.1:9")
    with pytest.raises(UnreachableError):
        await get_client_subscription_token(Realtime(api_base_url="http://127.0.0.1:9"), channel=fresh(), topics=["t"])
