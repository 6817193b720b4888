"""Answers that Inngest, or something in its place, should not give: rejections, failures, web pages, silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from inngest_realtime_core.errors import AuthenticationError, InngestError, UnexpectedResponseError, UnreachableError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .conftest import PING_INTERVAL, PING_TIMEOUT
from .ledger import Witness, until
from .proxy import Proxy

PAGE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 21\r\nconnection: close\r\n\r\n"
    b"<html>Welcome!</html>"
)
NONSENSE = b"\x00\x01\x02 this is not HTTP\r\n\r\n"


@dataclass(frozen=True)
class Trouble:
    begin: Callable[[Proxy, DevServer], None]
    end: Callable[[Proxy, DevServer], None]
    error: type[InngestError]


def _answer(kind: str, answer: bytes) -> Trouble:
    def begin(proxy: Proxy, server: DevServer) -> None:
        proxy.answers[kind] = answer
        proxy.cut("token")  # a kept HTTP connection would go on to Inngest

    error = UnreachableError if not answer or (kind == "connect" and answer is NONSENSE) else UnexpectedResponseError
    return Trouble(begin, lambda proxy, server: proxy.answers.clear(), error)


def _status(kind: str, status: int) -> Trouble:
    def begin(proxy: Proxy, server: DevServer) -> None:
        (server.reject_tokens if kind == "token" else server.reject_connects)(status)

    def end(proxy: Proxy, server: DevServer) -> None:
        (server.reject_tokens if kind == "token" else server.reject_connects)(None)

    return Trouble(begin, end, AuthenticationError if status in (401, 403) else UnexpectedResponseError)


TROUBLES = {
    "500 on token": _status("token", 500),
    "503 on connect": _status("connect", 503),
    "429 on token": _status("token", 429),
    "a web page instead of a token": _answer("token", PAGE),
    "a web page instead of a WebSocket": _answer("connect", PAGE),
    "nonsense instead of a token": _answer("token", NONSENSE),
    "nonsense instead of a WebSocket": _answer("connect", NONSENSE),
    "connection closed without an answer": _answer("token", b"HTTP/1.1 2"),
}
REJECTIONS = {"401 on token": _status("token", 401), "401 on connect": _status("connect", 401)}


@pytest.mark.parametrize("name", [*TROUBLES, *REJECTIONS])
async def test_trouble_at_subscribe(
    name: str, channel: str, proxy: Proxy, server: DevServer, realtime: Realtime
) -> None:
    """Who subscribes is told at once, and may try again."""
    trouble = (TROUBLES | REJECTIONS)[name]
    trouble.begin(proxy, server)
    with pytest.raises(InngestError) as caught:
        await realtime.subscribe(channel=channel, topics=["t"])
    if name != "connection closed without an answer":
        assert type(caught.value) is trouble.error
    trouble.end(proxy, server)
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    await server.publish(channel, "t", {"n": 0})
    assert (await subscription.__anext__()).data == {"n": 0}
    await subscription.close()


@pytest.mark.parametrize("name", TROUBLES)
async def test_trouble_at_reconnect(
    name: str, channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """Who is subscribed is kept, and told of a gap when it is over."""
    trouble = TROUBLES[name]
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    await server.publish(channel, "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    before = dict(proxy.seen)
    trouble.begin(proxy, server)
    proxy.cut()
    await until(lambda: witness.subscription.state == "reconnecting")
    await server.publish(channel, "t", {"n": 1})
    await until(lambda: _attempts(proxy) - _attempts(proxy, before) >= 3)
    trouble.end(proxy, server)
    recover = await until(lambda: witness.subscription.state == "open")
    await server.publish(channel, "t", {"n": 2})
    await until(lambda: witness.last("t") == 2)
    note(f"{name}, at a reconnect", recover_after_the_end_s=recover, **vars(witness.judge({"t": 3})))
    assert witness.events == [("t", 0), ("gap", "reconnect"), ("t", 2)]
    await witness.stop()


def _attempts(proxy: Proxy, seen: dict[str, int] | None = None) -> int:
    counts = proxy.seen if seen is None else seen
    return counts.get("token", 0) + counts.get("connect", 0)


@pytest.mark.parametrize("name", REJECTIONS)
async def test_refused_after_a_long_life(
    name: str, channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """It is reported to the consumer, and not tried for ever."""
    trouble = REJECTIONS[name]
    states: list[str] = []
    witness = Witness(
        await realtime.subscribe(channel=channel, topics=["t"], on_state=lambda state: states.append(state))
    ).start()
    await server.publish(channel, "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    requests, connects = server.stats().token_requests, proxy.seen["connect"]
    trouble.begin(proxy, server)
    began = time.monotonic()
    proxy.cut()
    await until(lambda: witness.error is not None)
    seconds = time.monotonic() - began
    tried = server.stats().token_requests - requests
    note(f"{name}, after a long life", reported_s=seconds, token_requests=tried)
    assert isinstance(witness.error, AuthenticationError)
    assert states == ["connecting", "open", "reconnecting", "closed"]
    assert tried <= 2
    assert proxy.seen["connect"] - connects <= 2
    assert realtime.stats().sockets == 0
    trouble.end(proxy, server)
    again = await realtime.subscribe(channel=channel, topics=["t"])
    await again.close()


async def test_refused_once(channel: str, proxy: Proxy, server: DevServer, realtime: Realtime) -> None:
    """One refused connect is tried again with a new token: the server may have been replaced in between."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    server.reject_connects(401)
    connects = proxy.seen["connect"]
    proxy.cut()
    await until(lambda: proxy.seen["connect"] > connects)
    await until(lambda: not proxy.links())
    server.reject_connects(None)
    await until(lambda: witness.subscription.state == "open")
    await witness.stop()


async def test_hanging_token_endpoint(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """It costs its timeout, other channels go on, and it is found well again once it answers."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    proxy.answers["token"] = b""
    proxy.cut("token")
    began = time.monotonic()
    late = asyncio.ensure_future(realtime.subscribe(channel=f"{channel}:late", topics=["t"]).__aenter__())
    for n in range(10):
        await server.publish(channel, "t", {"n": n})
    await until(lambda: witness.last("t") == 9)
    unharmed = time.monotonic() - began
    with pytest.raises(UnreachableError, match="no response within"):
        await late
    failed = time.monotonic() - began
    note("hanging token endpoint", others_delivered_s=unharmed, subscribe_fails_s=failed)
    assert unharmed < 1
    assert 9 < failed < 12
    proxy.answers.clear()
    subscription = await realtime.subscribe(channel=f"{channel}:late", topics=["t"])
    await subscription.close()
    await witness.stop()


async def test_swallowed_handshake(channel: str, proxy: Proxy, server: DevServer, note: Callable[..., None]) -> None:
    """A WebSocket handshake that nobody answers ends by its timeout."""
    proxy.answers["connect"] = b""
    async with Realtime(api_base_url=proxy.url, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT) as realtime:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="handshake"):
            await realtime.subscribe(channel=channel, topics=["t"])
        note("swallowed handshake", subscribe_fails_s=time.monotonic() - began)
        assert time.monotonic() - began < 12


async def test_refused_connections(
    channel: str, proxy: Proxy, server: DevServer, realtime: Realtime, note: Callable[..., None]
) -> None:
    """Nothing listens for a while: a subscriber waits, a newcomer is told at once."""
    witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
    await server.publish(channel, "t", {"n": 0})
    await until(lambda: witness.last("t") == 0)
    await proxy.refuse()
    proxy.cut(None)
    await until(lambda: witness.subscription.state == "reconnecting")
    began = time.monotonic()
    with pytest.raises(UnreachableError):
        await realtime.subscribe(channel=f"{channel}:new", topics=["t"])
    told = time.monotonic() - began
    await server.publish(channel, "t", {"n": 1})
    await proxy.listen()
    recover = await until(lambda: witness.subscription.state == "open")
    await server.publish(channel, "t", {"n": 2})
    await until(lambda: witness.last("t") == 2)
    note("connect refused", newcomer_told_s=told, recover_after_the_end_s=recover)
    assert witness.events == [("t", 0), ("gap", "reconnect"), ("t", 2)]
    await witness.stop()


async def test_unknown_host(channel: str, note: Callable[..., None]) -> None:
    """A name that does not resolve is an error that says so. `.invalid` never resolves."""
    async with Realtime(api_base_url="http://inngest.invalid:8288") as realtime:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="no connection"):
            await realtime.subscribe(channel=channel, topics=["t"])
        note("DNS failure", told_s=time.monotonic() - began)


async def test_leaving_in_an_outage(channel: str, proxy: Proxy, realtime: Realtime, note: Callable[..., None]) -> None:
    """Closing a subscription never waits for Inngest to come back."""
    first = await realtime.subscribe(channel=channel, topics=["t"])
    second = await realtime.subscribe(channel=f"{channel}:2", topics=["t"])
    proxy.answers["token"] = b""
    proxy.cut(None)
    await until(lambda: first.state == "reconnecting")
    await until(lambda: proxy.links("token"))
    began = time.monotonic()
    await first.close()
    await second.close()
    note("closing in an outage", seconds=time.monotonic() - began)
    assert time.monotonic() - began < 1.5
    assert realtime.stats().channels == 0
