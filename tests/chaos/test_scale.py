"""Many at once: channels, sockets, tokens; and an Inngest that is down while all of them want it back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from inngest_realtime_core.errors import InngestError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .ledger import Witness, until
from .proxy import Proxy


@pytest.mark.long
async def test_ten_thousand_channels(channel: str, proxy: Proxy, server: DevServer, note: Callable[..., None]) -> None:
    """At most 20 sockets, and at most 20 token requests after all of them were lost."""
    channels = [f"{channel}:{number}" for number in range(10_000)]
    async with Realtime(api_base_url=proxy.url, linger=0.0) as realtime:
        began = time.monotonic()
        subscriptions = await asyncio.gather(
            *(realtime.subscribe(channel=name, topics=["t"]).__aenter__() for name in channels)
        )
        subscribed = time.monotonic() - began
        first_tokens, sockets = server.stats().token_requests, realtime.stats().sockets
        began = time.monotonic()
        proxy.reset()
        await until(lambda: realtime.stats().reconnects == sockets, timeout=30)
        recovered = time.monotonic() - began
        tokens = server.stats().token_requests - first_tokens
        for name in channels:
            await server.publish(name, "t", {"n": 0})
        for subscription in subscriptions:
            kinds = [(await subscription.__anext__()).kind for _ in range(2)]
            assert kinds == ["gap", "data"]
        began = time.monotonic()
        await realtime.close()
        note(
            "10,000 channels",
            sockets=sockets,
            subscribe_all_s=subscribed,
            tokens_to_subscribe=first_tokens,
            recover_all_s=recovered,
            tokens_to_recover=tokens,
            close_s=time.monotonic() - began,
        )
    assert sockets <= 20
    assert tokens <= 20
    await server.until(lambda stats: stats.open_connections == 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 414 URI Too Long", b"HTTP/1.1 431 Request Header Fields Too Large", b""])
async def test_short_urls_only(
    answer: bytes, channel: str, proxy: Proxy, server: DevServer, note: Callable[..., None]
) -> None:
    """Something between refuses long URLs, or ends the connection: the topics then go in `sub` frames."""
    channels = [f"{channel}:{number}" for number in range(300)]
    proxy.longest_target = 8_000
    proxy.too_long = answer + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" if answer else b"\0"
    async with Realtime(api_base_url=proxy.url, linger=0.0) as realtime:
        witnesses = [Witness(await realtime.subscribe(channel=name, topics=["t"])).start() for name in channels]
        proxy.cut()
        began = time.monotonic()
        await until(lambda: realtime.stats().reconnects == 1)
        recovered = time.monotonic() - began
        for name in channels:
            await server.publish(name, "t", {"n": 0})
        await until(lambda: all(witness.last("t") == 0 for witness in witnesses))
        refused = proxy.seen["too long"]
        note(
            f"long URLs answered with {answer.decode() or 'nothing'}",
            refused=refused,
            sockets=realtime.stats().sockets,
            recover_s=recovered,
        )
        assert realtime.stats().sockets == 1
        assert 1 <= refused <= 3
        # And it is remembered.
        proxy.cut()
        await until(lambda: realtime.stats().reconnects == 2)
        assert proxy.seen["too long"] == refused
        for witness in witnesses:
            await witness.stop()


@pytest.mark.long
async def test_outage_is_not_hammered(channel: str, proxy: Proxy, server: DevServer, note: Callable[..., None]) -> None:
    """20 sockets in an outage of 10 s: about one attempt a second for all of them, and all come back."""
    async with Realtime(api_base_url=proxy.url, multiplex=False, linger=0.0) as realtime:
        witnesses = [
            Witness(await realtime.subscribe(channel=f"{channel}:{number}", topics=["t"])).start()
            for number in range(20)
        ]
        assert realtime.stats().sockets == 20
        before = server.stats()
        server.reject_tokens(503)
        proxy.reset()
        began = time.monotonic()
        newcomers = 0
        while time.monotonic() - began < 10:
            # Browsers that come all the while are told at once, and cost nothing more.
            with pytest.raises(InngestError):
                await realtime.subscribe(channel=f"{channel}:new:{newcomers}", topics=["t"])
            newcomers += 1
            await asyncio.sleep(0.05)
        during = server.stats()
        server.reject_tokens(None)
        back = await until(lambda: realtime.stats().reconnects == 20, timeout=40)
        note(
            "outage of 10 s, 20 sockets",
            token_requests=during.token_requests - before.token_requests,
            connects=during.connects - before.connects,
            newcomers=newcomers,
            all_back_s=back,
        )
        assert during.connects == before.connects
        assert during.token_requests - before.token_requests <= 60
        assert all(witness.subscription.state == "open" for witness in witnesses)
        for witness in witnesses:
            await witness.stop()


async def test_newcomer_after_an_outage(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """Who subscribes when Inngest is well again does not wait for the backoff of those who were there before."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    before = server.stats().token_requests
    server.reject_tokens(503)
    proxy.cut()
    # The delays have grown to 16 s at most by then.
    await server.until(lambda stats: stats.token_requests - before >= 7, timeout=60)
    server.reject_tokens(None)
    began = time.monotonic()
    newcomer = await realtime.subscribe(channel=f"{channel}:new", topics=["t"])
    note("newcomer after an outage", subscribed_s=time.monotonic() - began)
    assert time.monotonic() - began < 3
    assert witness.subscription.state == "open"
    await newcomer.close()
    await witness.stop()


async def test_accepting_and_dropping_is_not_hammered(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """A server that accepts and drops for 5 s gets a handful of attempts."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    before = proxy.seen["connect"]
    began = time.monotonic()
    while time.monotonic() - began < 5:
        await server.until(lambda stats: stats.open_connections > 0, timeout=30)
        server.drop_connections()
        await server.until(lambda stats: stats.open_connections == 0)
    attempts = proxy.seen["connect"] - before
    note("accepted and dropped for 5 s", attempts=attempts)
    assert 2 <= attempts <= 25
    await witness.stop()


@pytest.mark.long
async def test_herd_of_clients(channel: str, server: DevServer, note: Callable[..., None]) -> None:
    """1,000 equal mints at once, and again while Inngest fails, cost a handful of requests."""
    async with Realtime(api_base_url=server.url) as realtime:

        async def mint() -> str:
            return (await realtime.get_client_subscription_token(channel=channel, topics=["a", "b"])).key

        began = time.monotonic()
        keys = await asyncio.gather(*(mint() for _ in range(1_000)))
        seconds = time.monotonic() - began
        requests = server.stats().token_requests
        assert len(set(keys)) == 1
        other = await realtime.get_client_subscription_token(channel=f"{channel}:other", topics=["a", "b"])
        assert other.key not in keys
        server.reject_tokens(500)
        for _ in range(1_000):
            with pytest.raises(InngestError):
                await realtime.get_client_subscription_token(channel=f"{channel}:failing", topics=["a"])
        failing = server.stats().token_requests - requests - 1
        note("1,000 equal mints", seconds=seconds, token_requests=requests, token_requests_while_failing=failing)
        assert requests <= 3
        assert failing <= 10


@pytest.mark.long
async def test_herd_of_subscribers(channel: str, server: DevServer, note: Callable[..., None]) -> None:
    """1,000 subscriptions of one channel at once cost one socket and a handful of tokens."""
    async with Realtime(api_base_url=server.url, linger=0.0) as realtime:
        subscriptions = await asyncio.gather(
            *(realtime.subscribe(channel=channel, topics=["t"]).__aenter__() for _ in range(1_000))
        )
        stats = server.stats()
        note("1,000 subscribers of one channel", sockets=stats.connects, token_requests=stats.token_requests)
        assert (stats.connects, stats.subscriptions) == (1, 1)
        assert stats.token_requests <= 3
        await server.publish(channel, "t", {"n": 0})
        for subscription in subscriptions:
            assert (await subscription.__anext__()).data == {"n": 0}
