from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from inngest_realtime_core import Realtime, UnexpectedResponseError, UnreachableError
from inngest_realtime_core._api import token_cache
from inngest_realtime_core._api.http_pool import HttpPool
from inngest_realtime_core._api.token_cache import TokenCache
from inngest_realtime_core._api.tokens import IssuedToken
from inngest_realtime_core.settings import Settings
from inngest_realtime_devserver.server import DevServer
from raw_server import http_answer, raw_server
from talk import eventually, soon

# Signed by itself, so nobody has a reason to trust it.
UNTRUSTED = Path(__file__).parent / "certificates" / "untrusted.pem"


async def test_a_server_that_cannot_be_trusted_is_told_nothing(server: DevServer, channel: str) -> None:
    """Though the `Realtime` itself, and what it asked before, needs no encryption."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(UNTRUSTED)
    listener = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    async with listener, Realtime(api_base_url=server.url, signing_key="signkey-test-00ff") as realtime:
        await realtime.get_client_subscription_token(channel=channel, topics=["t"])
        with pytest.raises(UnreachableError):
            await realtime.subscribe(channel=channel, topics=["t"], api_base_url=f"https://127.0.0.1:{port}")
    assert not any(heard)


def test_the_repr_of_a_token_does_not_show_it() -> None:
    minted = IssuedToken.of("not.a.token")
    assert minted.token not in repr(minted)
    assert minted.env_id is None


async def test_asking_costs_the_same_however_many_others_have_asked(server: DevServer) -> None:
    settings = Settings(server.url, server.url)
    pool = HttpPool(keep=True)
    cache = TokenCache(settings, pool)
    try:
        token = await cache.shared([("c", "t")])
        done = cache._tokens[(("c", "t"),)]  # pyright: ignore[reportPrivateUsage]
        cache._tokens.update({((f"c:{number}", "t"),): done for number in range(50_000)})  # pyright: ignore[reportPrivateUsage]
        began = time.process_time()
        for _ in range(600):
            cache._tokens[(("c", "t"),)] = done = (time.monotonic(), done[1])  # pyright: ignore[reportPrivateUsage]
            assert await cache.shared([("c", "t")]) == token
        assert time.process_time() - began < 0.3  # longer than a second when each looks at all
    finally:
        await cache.close()
        await pool.close()


async def test_a_request_that_hangs_makes_no_other_token_live_longer(
    server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "_FRESH", 0.05)
    pool = HttpPool(keep=True)
    cache = TokenCache(Settings(server.url, server.url), pool)

    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    hanging = asyncio.create_task(hang())
    cache._tokens[(("hangs", "t"),)] = (time.monotonic(), hanging)  # pyright: ignore[reportPrivateUsage]
    try:
        first = await cache.shared([("c", "t")])
        until = time.monotonic() + 5
        while await cache.shared([("c", "t")]) == first:
            assert time.monotonic() < until
        assert not hanging.done()
    finally:
        await cache.close()
        await pool.close()


async def test_equal_requests_share_a_token_for_a_moment_only(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:

        async def ask() -> str:
            return (await realtime.get_client_subscription_token(channel=channel, topics=["t"])).key

        first = await ask()
        assert [await ask() for _ in range(10)] == [first] * 10
        assert server.stats().token_requests == 1
        until = time.monotonic() + 5
        while await ask() == first:  # what lives for a minute must not be a minute old already
            assert time.monotonic() < until
        assert server.stats().token_requests == 2


async def test_a_failure_is_shared_for_a_moment_only(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        server.reject_tokens(500)
        for _ in range(10):
            with pytest.raises(UnexpectedResponseError):
                await realtime.get_client_subscription_token(channel=channel, topics=["t"])
        assert server.stats().token_requests == 1
        server.reject_tokens(None)
        failed = time.monotonic()
        while True:
            asked = time.monotonic()
            with contextlib.suppress(UnexpectedResponseError):
                await realtime.get_client_subscription_token(channel=channel, topics=["t"])
                break
            assert asked < failed + 0.5
            await asyncio.sleep(0.01)


async def test_who_leaves_does_not_take_the_token_from_the_others() -> None:
    others_wait = threading.Event()

    def answer(connection: socket.socket) -> None:
        others_wait.wait(5)
        connection.sendall(http_answer("200 OK", b'{"jwt": "a.b.c"}', connection="close"))

    with raw_server(answer) as server:
        async with Realtime(api_base_url=server.url) as realtime:

            async def ask() -> str:
                return (await realtime.get_client_subscription_token(channel="c", topics=["t"])).key

            first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
            await eventually(lambda: bool(server.requests))
            first.cancel()
            await asyncio.wait([first])
            others_wait.set()
            assert await soon(second) == "a.b.c"
            assert len(server.requests) == 1


@pytest.mark.parametrize("blocking", [False, True])
async def test_closing_ends_the_requests_under_way(blocking: bool) -> None:
    with raw_server(lambda connection: connection.recv(1)) as silent:
        realtime = Realtime(api_base_url=silent.url)
        if blocking:
            ask = asyncio.to_thread(realtime.get_client_subscription_token_sync, channel="c", topics=["t"])
        else:
            ask = realtime.get_client_subscription_token(channel="c", topics=["t"])
        asking = asyncio.create_task(ask)
        await eventually(lambda: bool(silent.requests))
        await soon(asyncio.to_thread(realtime.close_sync) if blocking else realtime.close())
        # Nobody has cancelled the one who asked.
        with pytest.raises(UnreachableError, match="ended by this process"):
            await soon(asking)
        assert not [task for task in asyncio.all_tasks() if "inngest-realtime" in task.get_name()]
