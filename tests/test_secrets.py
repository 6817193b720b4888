"""Nothing that is logged, raised or shown holds a token or a signing key, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from inngest_realtime_core import Message, Realtime, Subscription
from inngest_realtime_core._api.http import hash_signing_key
from inngest_realtime_core._api.tokens import mint
from inngest_realtime_core._hub.options import Source
from inngest_realtime_core._upstream.connection import Connection
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh, soon

KEY = "signkey-prod-0123456789abcdef0123456789abcdef"
FALLBACK = "signkey-prod-fedcba9876543210fedcba9876543210"
WRONG = "signkey-prod-00000000000000000000000000000bad"


class Ledger(logging.Handler):
    """Everything that came to light, and the secrets that must not be in it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.secrets = {KEY, FALLBACK, WRONG} | {hash_signing_key(key) for key in (KEY, FALLBACK, WRONG)}
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        self.texts.append(repr(record.__dict__))

    def show(self, thing: object) -> None:
        self.texts.append(f"{thing!r} {thing}")
        if isinstance(thing, BaseException):
            self.texts += traceback.TracebackException.from_exception(thing, capture_locals=False).format()
            self.texts.append(repr(vars(thing)))
            for linked in (thing.__cause__, thing.__context__):
                if linked is not None:
                    self.show(linked)

    @contextlib.asynccontextmanager
    async def failing(self) -> Any:
        try:
            yield
        except Exception as error:
            self.show(error)
        else:
            raise AssertionError("it did not fail")

    def check(self) -> None:
        assert len(self.secrets) > 8
        for text in self.texts:
            for secret in self.secrets:
                # Of a token, its signed part is what lets somebody in.
                for part in (secret, secret.removeprefix("signkey-prod-"), secret.split(".")[-1]):
                    assert part not in text, text.replace(part, "<the secret>")[:2000]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    ledger = Ledger()
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.DEBUG)
    root.addHandler(ledger)
    # The embedded server's own libraries log what they are sent; it is no part of what is tested here.
    for name in ("uvicorn", "wsproto"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", False)

    # Every token that is minted is one that must not be seen.
    async def remember(*arguments: Any, **keywords: Any) -> str:
        token = await mint(*arguments, **keywords)
        ledger.secrets.add(token)
        return token

    monkeypatch.setattr("inngest_realtime_core._api.token_cache.mint", remember)
    yield ledger
    root.removeHandler(ledger)


async def everything(ledger: Ledger, server: DevServer, realtime: Realtime, channel: str) -> None:
    ledger.show(realtime)
    ledger.show(realtime.settings)
    token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    ledger.show(token)
    errors: list[Exception] = []

    def fail(message: Message[Any]) -> None:
        raise ValueError(f"on {message!r}")

    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        called = await realtime.subscribe(channel=fresh(), topics=["t"], on_message=fail, on_error=errors.append)
        keyed = await realtime.subscribe(channel=channel, topics=["t"], key=token.key)
        await realtime.publish((channel, "t"), 1)
        await realtime.publish((called.channel, "t"), 2)
        for one in (subscription, keyed):
            ledger.show(await soon(anext(one)))
        for thing in (subscription, called, realtime.stats(), Source(key=token.key), *connections()):
            ledger.show(thing)
        server.drop_connections()
        await eventually(lambda: realtime.stats().reconnects >= 1)
        await server.begin_closing(grace=0.05)
        await server.until(lambda stats: stats.open_connections >= 2)
        await failures(ledger, server, realtime, token.key)
        server.reject_tokens(401)
        server.drop_connections()
        async with ledger.failing():
            while True:
                await soon(anext(subscription))
        await eventually(lambda: len(errors) >= 1)
    for error in errors:
        ledger.show(error)


async def failures(ledger: Ledger, server: DevServer, realtime: Realtime, key: str) -> None:
    for status in (401, 403, 404, 500):
        server.reject_tokens(status)
        async with ledger.failing():
            await realtime.subscribe(channel=fresh(), topics=["t"])
        async with ledger.failing():
            await realtime.get_client_subscription_token(channel=fresh(), topics=["t"])
        server.reject_tokens(None)
        server.reject_connects(status)
        async with ledger.failing():
            await realtime.subscribe(channel=fresh(), topics=["t"], key=key)
        server.reject_connects(None)
    for address in ("http://127.0.0.1:9", "http://[::1]:9", f"{server.url}/nowhere"):
        async with ledger.failing():
            await realtime.subscribe(channel=fresh(), topics=["t"], key=key, api_base_url=address)
        async with ledger.failing():
            await realtime.subscribe(channel=fresh(), topics=["t"], api_base_url=address)


def connections() -> list[Connection]:
    # By type, which a dead weak proxy of another test has as well; `isinstance` would ask what it stood for.
    return [thing for thing in gc.get_objects() if issubclass(type(thing), Connection | Subscription)]


@pytest.mark.parametrize("debug", [False, True])
async def test_a_life_with_every_kind_of_failure(ledger: Ledger, channel: str, debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    async with DevServer(signing_key=FALLBACK) as server:
        options: dict[str, Any] = {"signing_key": KEY, "signing_key_fallback": FALLBACK, "env": "branch"}
        async with Realtime(api_base_url=server.url, linger=0, **options) as realtime:
            await everything(ledger, server, realtime, channel)
        async with Realtime(api_base_url=server.url, signing_key=WRONG) as wrong:
            async with ledger.failing():
                await wrong.subscribe(channel=channel, topics=["t"])
            async with ledger.failing():
                await wrong.publish((channel, "t"), 1)
    assert any("websockets" in text or "inngest_realtime" in text for text in ledger.texts)
    ledger.check()
