"""One channel's trouble is not another's: who leaves, who joins, who is refused and who waits for a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from chaos.proxy import Proxy
from inngest_realtime_core.errors import AuthenticationError, RealtimeError, TopicError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_core.subscriptions.subscription import Subscription
from inngest_realtime_devserver.server import DevServer
from talk import eventually, receive

PROMPTLY = 2.0  # seconds; what these tests guard against took 7 to 20


@pytest.fixture
async def proxy(server: DevServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def realtime(proxy: Proxy) -> AsyncIterator[Realtime]:
    async with Realtime(api_base_url=proxy.url, linger=0.0) as realtime:
        yield realtime


async def _open(realtime: Realtime, channel: str, *topics: str) -> Subscription:
    return await realtime.subscribe(channel=channel, topics=topics or ("t",)).__aenter__()


async def _next(subscription: Subscription) -> object:
    return (await receive(subscription, 1))[0]


async def _hang(proxy: Proxy, opening: Coroutine[Any, Any, Subscription]) -> asyncio.Task[Subscription]:
    """Begin a subscription whose request for a token is never answered."""
    proxy.answers["token"] = b""
    proxy.reset("token")
    before = proxy.seen["token"]
    joining = asyncio.create_task(opening)
    await eventually(lambda: proxy.seen["token"] > before, timeout=5)
    return joining


async def test_who_leaves_and_who_joins_while_a_successor_is_missing(server: DevServer, realtime: Realtime) -> None:
    """The old connection is served as ever between two attempts to replace it."""
    await _open(realtime, "stays")
    leaving = await _open(realtime, "leaves")
    tokens = server.stats().token_requests
    await server.begin_closing(20, accept_new=False)
    await eventually(lambda: server.stats().token_requests > tokens + 1, timeout=5)
    began = time.monotonic()
    await leaving.close()
    joined = await _open(realtime, "joins")
    more = await _open(realtime, "stays", "t", "u")
    assert time.monotonic() - began < PROMPTLY
    await server.publish("joins", "t", 1)
    await server.publish("stays", "u", 2)
    assert (await _next(joined), await _next(more)) == (1, 2)


async def test_who_leaves_while_another_waits_for_a_token(proxy: Proxy, realtime: Realtime) -> None:
    await _open(realtime, "stays")
    leaving = await _open(realtime, "leaves")
    joining = await _hang(proxy, _open(realtime, "joins"))
    began = time.monotonic()
    await leaving.close()
    assert time.monotonic() - began < PROMPTLY
    assert not joining.done()
    joining.cancel()
    await asyncio.wait([joining])


async def test_a_lost_connection_is_noticed_while_another_waits_for_a_token(proxy: Proxy, realtime: Realtime) -> None:
    states: list[str] = []
    await realtime.subscribe(channel="stays", topics=["t"], on_state=states.append).__aenter__()
    joining = await _hang(proxy, _open(realtime, "joins"))
    proxy.reset()
    await eventually(lambda: states[-1] == "reconnecting", timeout=PROMPTLY)
    del proxy.answers["token"]
    proxy.reset("token")
    await eventually(lambda: states[-1] == "open", timeout=10)
    await joining


async def test_who_joins_does_not_queue_behind_who_leaves(proxy: Proxy, realtime: Realtime) -> None:
    subscriptions = await asyncio.gather(*(_open(realtime, f"c{number}") for number in range(300)))
    proxy.delay = 0.02
    leaving: set[asyncio.Future[None]] = set()

    async def leave() -> None:
        for subscription in subscriptions[1:]:
            leaving.add(asyncio.ensure_future(subscription.close()))
            await asyncio.sleep(0.02)

    departures = asyncio.ensure_future(leave())
    await eventually(lambda: len(leaving) > 5, timeout=5)
    began = time.monotonic()
    await _open(realtime, "joins")
    assert time.monotonic() - began < PROMPTLY
    assert not departures.done()
    departures.cancel()
    await asyncio.wait([departures])
    await asyncio.gather(*leaving)


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("first", [True, False])
async def test_one_refused_channel_costs_those_that_join_with_it_nothing(
    server: DevServer, realtime: Realtime, status: int, first: bool
) -> None:
    if not first:
        await _open(realtime, "stays")
    server.reject_tokens(status, channel="c7")
    results = await asyncio.gather(*(_open(realtime, f"c{number}") for number in range(50)), return_exceptions=True)
    assert [number for number, result in enumerate(results) if isinstance(result, RealtimeError)] == [7]
    await server.publish("c49", "t", 1)
    last = results[49]
    assert isinstance(last, Subscription)
    assert await _next(last) == 1


async def test_a_channel_that_is_refused_at_a_reconnect_ends_alone(server: DevServer, realtime: Realtime) -> None:
    good, bad = await _open(realtime, "good"), await _open(realtime, "bad")
    server.reject_tokens(403, channel="bad")
    server.drop_connections()
    with pytest.raises(AuthenticationError):
        await _next(bad)
    assert (good.state, bad.state) == ("open", "closed")
    await server.publish("good", "t", 1)
    assert [getattr(await _next(good), "reason", None), await _next(good)] == ["reconnect", 1]


async def test_topics_that_were_refused_are_not_asked_for_again(
    server: DevServer, proxy: Proxy, realtime: Realtime
) -> None:
    """A refused addition to a channel leaves what the channel had, also after a reconnect."""
    subscription = await _open(realtime, "c", "t")
    proxy.answers["token"] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    proxy.reset("token")
    with pytest.raises(AuthenticationError):
        await _open(realtime, "c", "t", "u")
    del proxy.answers["token"]
    proxy.cut()
    assert getattr(await _next(subscription), "reason", None) == "reconnect"
    assert server.stats().subscriptions == 1


async def test_a_topic_too_long_for_a_frame_is_refused_and_costs_nobody_else(
    server: DevServer, realtime: Realtime
) -> None:
    other = await _open(realtime, "other")
    await _open(realtime, "c", "t")
    with pytest.raises(TopicError, match="too long together"):
        await _open(realtime, "c", "t", "x" * 26_000)
    await server.publish("other", "t", 1)
    assert await _next(other) == 1
    assert (realtime.stats().reconnects, realtime.stats().gaps) == (0, 0)


async def test_five_topics_a_channel_are_had_back_with_a_token_for_each_socket(
    server: DevServer, realtime: Realtime
) -> None:
    """Sockets hold as many channels as fit the token of one URL."""
    names = [f"a-channel-name-of-an-ordinary-length:{number:08d}" for number in range(1_500)]
    topics = [f"topic-{letter}" for letter in "abcde"]
    await asyncio.gather(*(_open(realtime, name, *topics) for name in names))
    sockets, tokens = realtime.stats().sockets, server.stats().token_requests
    assert sockets in (2, 3)
    server.drop_connections()
    await eventually(lambda: realtime.stats().reconnects == sockets, timeout=20)
    assert server.stats().token_requests == tokens + sockets
