"""One decision for HTTP and WebSocket: which proxy leads to Inngest."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from inngest_realtime_core import (
    AuthenticationError,
    ConfigurationError,
    Realtime,
    UnexpectedResponseError,
    UnreachableError,
)
from inngest_realtime_core._api.proxies import proxy_for
from inngest_realtime_devserver.server import DevServer
from talk import receive, soon

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class HttpProxy:
    """A forward proxy: passes on what is addressed to a host, and makes tunnels; or refuses both."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.seen: list[str] = []
        self.url = ""
        self._links: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        self.seen.append(method)
        if self.refuse:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 11\r\n\r\nnot allowed")
            await writer.drain()
            writer.close()
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            query = f"?{parts.query}" if parts.query else ""
            head = head.replace(target, parts.path + query, 1).replace("onnection: keep-alive", "onnection: close")
            back.write(head.encode())
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            for end in (back, writer):
                end.transport.abort()

    @staticmethod
    async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65536):
                target.write(part)
                await target.drain()
        target.close()


@contextlib.asynccontextmanager
async def running(proxy: HttpProxy) -> AsyncIterator[HttpProxy]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def talk(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await realtime.publish((channel, "t"), 1)
        assert await receive(subscription, 1) == [1]
    await asyncio.to_thread(realtime.publish_stream_sync, (channel, "t"), ["a"])


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", None])
async def test_all_goes_through_the_proxy(
    server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    async with running(HttpProxy()) as proxy:
        options: dict[str, Any] = {"proxy": proxy.url} if variable is None else {}
        if variable is not None:
            monkeypatch.setenv(variable, proxy.url)
        async with Realtime(api_base_url=server.url, linger=0, **options) as realtime:
            await talk(realtime, channel)
    # The WebSocket; a token, a message and a stream.
    assert proxy.seen.count("CONNECT") == 1
    assert proxy.seen.count("POST") >= 3


@pytest.mark.parametrize(
    "environ",
    [
        {"https_proxy": "http://127.0.0.1:1"},  # for other addresses
        {"ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"},
        {"http_proxy": "socks5://127.0.0.1:1", "no_proxy": "example.com,127.0.0.1"},
        {"ALL_PROXY": "socks4://127.0.0.1:1", "no_proxy": "*"},
        {"HTTP_PROXY": ""},
    ],
)
async def test_nothing_goes_through_a_proxy_that_is_not_for_inngest(
    server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with Realtime(api_base_url=server.url, linger=0) as realtime:
        await talk(realtime, channel)


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://api.inngest.com", {"https_proxy": "http://a:1", "http_proxy": "http://b:1"}, "http://a:1"),
        ("http://inngest:8288", {"https_proxy": "http://a:1", "http_proxy": "http://b:1"}, "http://b:1"),
        ("http://inngest:8288", {"http_proxy": "b:1"}, "http://b:1"),
        ("http://inngest:8288", {"all_proxy": "http://c:1", "http_proxy": "http://b:1"}, "http://b:1"),
        ("http://inngest:8288", {"all_proxy": "http://c:1", "no_proxy": "inngest:8289"}, "http://c:1"),
        ("http://inngest:8288", {"all_proxy": "http://c:1", "no_proxy": "inngest:8288"}, None),
        ("http://a.local:8288", {"all_proxy": "http://c:1", "no_proxy": ".local"}, None),
    ],
)
def test_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, url: str, environ: dict[str, str], proxy: str | None
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url, None) == proxy
    assert proxy_for(url, "http://mine:1") == "http://mine:1"


@pytest.mark.parametrize(("address", "reason"), [("socks5://secret:1", "packages"), ("gopher://secret:1", "kind")])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
async def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, variable: str, address: str, reason: str
) -> None:
    monkeypatch.setenv(variable, address)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    async with Realtime(api_base_url=server.url) as realtime:
        for call in (
            lambda: realtime.publish(("c", "t"), 1),
            lambda: realtime.get_client_subscription_token(channel="c", topics=["t"]),
            lambda: realtime.subscribe(channel="c", topics=["t"]).__aenter__(),
        ):
            with pytest.raises(ConfigurationError, match=reason) as caught:
                await soon(call())
            assert variable in str(caught.value)
            assert "secret" not in str(caught.value)
        with pytest.raises(ConfigurationError, match=variable):
            await asyncio.to_thread(realtime.publish_stream_sync, ("c", "t"), ["a"])


def test_socks_proxies_are_used_where_their_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert proxy_for("http://inngest", "socks5://a:1") == "socks5://a:1"


async def test_a_proxys_own_403_is_not_taken_for_inngests(server: DevServer) -> None:
    """Neither where it responds in place of Inngest nor where it makes no tunnel; the key is not to blame."""
    async with running(HttpProxy(refuse=True)) as proxy:
        async with Realtime(api_base_url=server.url, proxy=proxy.url) as realtime:
            with pytest.raises(AuthenticationError, match="may have responded in its place") as caught:
                await realtime.publish(("c", "t"), 1)
            assert not caught.value.by_inngest
            assert "INNGEST_SIGNING_KEY" not in str(caught.value)
            token = await Realtime(api_base_url=server.url).get_client_subscription_token(channel="c", topics=["t"])
            with pytest.raises(UnreachableError, match=r"the proxy did not let it pass \(403\)"):
                await realtime.subscribe(channel="c", topics=["t"], key=token.key)
        encrypted = server.url.replace("http:", "https:")
        async with Realtime(api_base_url=encrypted, proxy=proxy.url) as realtime:
            with pytest.raises(UnreachableError, match=r"the proxy did not let it pass \(403 Forbidden\)"):
                await realtime.publish(("c", "t"), 1)


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY", None])
async def test_a_proxy_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, server: DevServer, variable: str | None
) -> None:
    """By its address, without the password, for each call and both transports."""
    token = await Realtime(api_base_url=server.url).get_client_subscription_token(channel="c", topics=["t"])
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    address = f"http://user:hidden@127.0.0.1:{port}"
    if variable is not None:
        monkeypatch.setenv(variable, address)
    async with Realtime(api_base_url=server.url, proxy=None if variable else address) as realtime:
        calls: list[Callable[[], Any]] = [
            lambda: realtime.publish(("c", "t"), 1),
            lambda: realtime.get_client_subscription_token(channel="c", topics=["t"]),
            realtime.subscribe(channel="c", topics=["t"]).__aenter__,
            realtime.subscribe(channel="c", topics=["t"], key=token.key).__aenter__,
            lambda: asyncio.to_thread(realtime.publish_sync, ("c", "t"), 1),
            lambda: asyncio.to_thread(realtime.subscribe_sync, channel="c", topics=["t"]),
        ]
        for call in calls:
            with pytest.raises(UnreachableError) as caught:
                await call()
            assert f"through the proxy http://127.0.0.1:{port} (of proxy=, http_proxy" in str(caught.value)
            assert "hidden" not in str(caught.value)
        await asyncio.to_thread(realtime.close_sync)
    with pytest.raises(UnreachableError) as caught:
        await Realtime(api_base_url=f"http://127.0.0.1:{port}", proxy=None).publish(("c", "t"), 1)
    assert ("proxy" in str(caught.value)) == (variable is not None)


async def test_a_proxy_that_wants_a_password_is_told_from_inngest() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        with pytest.raises(UnexpectedResponseError, match="a proxy asks for a user and a password"):
            await Realtime(api_base_url="http://inngest.invalid", proxy=url).publish(("c", "t"), 1)
