from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import pickle
import threading
from typing import Any

import inngest
import psutil
import pytest
from pydantic import BaseModel

from inngest_realtime_core import (
    AuthenticationError,
    Channel,
    ConfigurationError,
    Gap,
    Message,
    PublishError,
    Realtime,
    ShuttingDownError,
    topic,
)
from inngest_realtime_core._api.claims import read_claims_unverified
from inngest_realtime_devserver.server import DevServer
from raw_server import raw_server
from talk import eventually, fresh, receive, soon

KEY = "signkey-prod-0123456789abcdef"
RUN_ID = "01JABCDEFGHJKMNPQRSTVWXYZ0"


class Status(BaseModel):
    message: str


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)


@pytest.mark.parametrize(
    "options",
    [{"ping_interval": 0}, {"ping_timeout": -1}, {"buffer_size": 0}, {"linger": -1}, {"linger": float("nan")}],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Realtime(api_base_url="http://127.0.0.1:9", **options)


def test_construction_starts_nothing() -> None:
    threads = threading.active_count()
    realtime = Realtime(api_base_url="http://127.0.0.1:9")
    assert threading.active_count() == threads
    assert realtime.stats().sockets == 0
    assert repr(realtime) == "<Realtime http://127.0.0.1:9>"


async def test_an_app_of_the_inngest_package(channel: str) -> None:
    async with DevServer(signing_key=KEY) as server:
        app = inngest.Inngest(app_id="app", api_base_url=server.url, signing_key=KEY, is_production=True)
        async with Realtime(app, linger=0) as realtime:
            async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
                await realtime.publish((channel, "t"), 1)
                assert await receive(subscription, 1) == [1]
        wrong = inngest.Inngest(
            app_id="app", api_base_url=server.url, signing_key="signkey-prod-00", is_production=True
        )
        async with Realtime(wrong) as realtime:
            with pytest.raises(AuthenticationError):
                await realtime.subscribe(channel=channel, topics=["t"])


async def test_the_environment(server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", server.url)
    async with Realtime(linger=0) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await realtime.publish((channel, "t"), 1)
            assert await receive(subscription, 1) == [1]


async def test_tokens(server: DevServer) -> None:
    async with Realtime(api_base_url=server.url, client_api_base_url="https://public.example") as realtime:
        pipeline = Pipeline(run_id="r1")
        token = await realtime.get_client_subscription_token(channel=pipeline, topics=["status"])
        assert token.to_dict() == {"key": token.key, "apiBaseUrl": "https://public.example"}
        whole = await realtime.get_client_subscription_token(channel=pipeline)
        claims = read_claims_unverified(whole.key)
        assert [(claim.channel, claim.name) for claim in claims.topics] == [
            ("pipeline:r1", "status"),
            ("pipeline:r1", "tokens"),
        ]


async def test_publishing(realtime: Realtime) -> None:
    pipeline = Pipeline(run_id=fresh("run").replace(":", "-"))
    async with realtime.subscribe(channel=pipeline) as subscription:
        await realtime.publish(pipeline.status, Status(message="a"), run_id=RUN_ID, metadata={"k": [1]})
        message = await soon(anext(subscription))
        assert (message.data, message.run_id, message.metadata) == (Status(message="a"), RUN_ID, {"k": [1]})
        await realtime.publish((pipeline, "tokens"), "b")
        await realtime.publish((pipeline, Pipeline.tokens), "c")
        await realtime.publish((pipeline.name, "tokens"), "d")
        assert await receive(subscription, 3) == ["b", "c", "d"]
        with pytest.raises(PublishError):
            await realtime.publish(pipeline.tokens, 1)  # type: ignore[arg-type]


async def test_sync_twins(server: DevServer, realtime: Realtime) -> None:
    pipeline = Pipeline(run_id=fresh("run").replace(":", "-"))

    def publish() -> str:
        realtime.publish_sync(pipeline.status, Status(message="a"), metadata={"k": "v"})
        realtime.publish_stream_sync(pipeline.tokens, iter(["one ", "two"]))
        token = realtime.get_client_subscription_token_sync(channel=pipeline)
        realtime.close_sync()
        return token.key

    async with realtime.subscribe(channel=pipeline) as subscription:
        key = await asyncio.to_thread(publish)
        assert key.count(".") == 2
        assert await receive(subscription, 1) == [Status(message="a")]
        start = await soon(anext(subscription))
        assert start.stream is not None
        assert "".join([chunk async for chunk in start.stream]) == "one two"


async def test_several_event_loops(server: DevServer, realtime: Realtime, channel: str) -> None:
    ready = threading.Barrier(4)
    results: list[Any] = []

    async def read() -> None:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await asyncio.to_thread(ready.wait, 5)
            results.append(await receive(subscription, 3))
        await realtime.close()

    threads = [threading.Thread(target=asyncio.run, args=[read()]) for _ in range(3)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(ready.wait, 5)
    assert realtime.stats().sockets == 3
    for number in range(3):
        await realtime.publish((channel, "t"), number)
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert results == [[0, 1, 2]] * 3
    assert realtime.stats().sockets == 0
    assert realtime.stats().received == 9


@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_loops_that_were_left_behind_are_forgotten(server: DevServer, realtime: Realtime, channel: str) -> None:
    def publish_on_a_loop_of_its_own() -> None:
        asyncio.run(realtime.publish((channel, "t"), 1))

    for _ in range(5):
        await asyncio.to_thread(publish_on_a_loop_of_its_own)
    await realtime.publish((channel, "t"), 1)
    gc.collect()
    sockets = [one for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port == server.port]
    assert len(sockets) == 1


async def test_closing_ends_everything_and_it_can_be_used_again(server: DevServer, channel: str) -> None:
    realtime = Realtime(api_base_url=server.url)
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    reader = asyncio.create_task(receive_all(subscription))
    await asyncio.sleep(0)
    await realtime.close()
    await realtime.close()
    assert await soon(reader) == []
    await server.until(lambda stats: stats.open_connections == 0)
    assert realtime.stats().channels == 0
    async with realtime.subscribe(channel=channel, topics=["t"]) as again:
        await realtime.publish((channel, "t"), 1)
        assert await receive(again, 1) == [1]
    await realtime.close()


async def receive_all(subscription: Any) -> list[Any]:
    return [message async for message in subscription]


async def test_closing_while_others_subscribe(server: DevServer) -> None:
    realtime = Realtime(api_base_url=server.url)

    async def subscribe() -> None:
        with contextlib.suppress(Exception):
            await realtime.subscribe(channel=fresh(), topics=["t"])

    pending = [asyncio.create_task(subscribe()) for _ in range(20)]
    await asyncio.sleep(0)
    await soon(realtime.close())
    await soon(asyncio.wait(pending))
    await realtime.close()
    await server.until(lambda stats: stats.open_connections == 0)


async def test_stats_of_all_that_happens(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with (
        realtime.subscribe(channel=channel, topics=["t"]) as one,
        realtime.subscribe(channel=channel, topics=["t"]) as other,
    ):
        await server.publish(channel, "t", 1)
        assert await receive(one, 1) == await receive(other, 1) == [1]
        server.drop_connections()
        assert await receive(one, 1) == [Gap("reconnect", None)]
        stats = realtime.stats()
        assert (stats.sockets, stats.channels) == (1, 1)
        assert (stats.received, stats.delivered, stats.dropped, stats.gaps, stats.reconnects) == (1, 2, 0, 1, 1)
    await eventually(lambda: realtime.stats().channels == 0)


async def test_shutting_down_from_another_thread(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        reader = asyncio.create_task(receive_all(subscription))
        await asyncio.sleep(0)
        await asyncio.to_thread(realtime.begin_shutdown)
        assert await soon(reader) == []
    # What streams nothing goes on: a request in flight may still have something to publish.
    await realtime.publish((channel, "t"), 1)


async def test_shutting_down_reaches_every_event_loop(realtime: Realtime, channel: str) -> None:
    begun = threading.Barrier(4)
    received: list[Any] = []

    async def read() -> None:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await asyncio.to_thread(begun.wait, 5)
            received.append(await receive_all(subscription))
        await realtime.close()

    threads = [threading.Thread(target=asyncio.run, args=[read()], daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(begun.wait, 5)
    realtime.begin_shutdown()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert received == [[], [], []]


async def test_an_event_loop_that_is_new_after_the_shutdown_began_opens_nothing(
    realtime: Realtime, channel: str
) -> None:
    realtime.begin_shutdown()
    with pytest.raises(ShuttingDownError, match="new Realtime"):
        await asyncio.to_thread(realtime.subscribe_sync, channel=channel, topics=["t"])


async def test_shutting_down_ends_what_is_being_opened() -> None:
    with raw_server(lambda connection: connection.recv(1)) as silent:
        async with Realtime(api_base_url=silent.url) as realtime:
            opening = asyncio.create_task(realtime.subscribe(channel="c", topics=["t"]).__aenter__())
            await eventually(lambda: bool(silent.requests))
            realtime.begin_shutdown()
            with pytest.raises(ShuttingDownError):
                await soon(opening)
            assert realtime.stats().channels == 0


async def test_closing_waits_for_callbacks(server: DevServer, channel: str) -> None:
    begun = asyncio.Event()
    ended = False

    async def on_message(message: Message[Any]) -> None:
        nonlocal ended
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # an ending of its own, to a database for example
            ended = True

    realtime = Realtime(api_base_url=server.url)
    await realtime.subscribe(channel=channel, topics=["t"], on_message=on_message)
    await realtime.publish((channel, "t"), 1)
    await soon(begun.wait())
    await soon(realtime.close())
    assert ended


def test_stats_are_a_value_that_can_be_written_as_a_dict() -> None:
    stats = Realtime(api_base_url="http://127.0.0.1:9").stats()
    assert dataclasses.asdict(stats)["gaps_by_reason"] == {}
    assert dataclasses.replace(stats, sockets=3) != stats
    assert pickle.loads(pickle.dumps(stats)) == stats
    assert repr(stats).startswith("Stats(sockets=0, subscriptions=0, ")
    with pytest.raises(AttributeError):
        stats.sockets = 1
