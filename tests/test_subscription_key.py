"""`subscribe(key=...)` and `subscribe(token=...)`: a token minted elsewhere, checked by its own claims."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest

from inngest_realtime_core import (
    AuthenticationError,
    ClientSubscriptionToken,
    ConfigurationError,
    Realtime,
    subscribe,
    subscribe_sync,
)
from inngest_realtime_devserver.server import DevServer
from talk import fresh, receive


@pytest.mark.parametrize("form", ["object", "dict", "older", "key"])
async def test_every_form_of_a_token(server: DevServer, realtime: Realtime, channel: str, form: str) -> None:
    token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    given: dict[str, Any] = {
        "object": {"token": token},
        "dict": {"token": token.to_dict()},
        "older": {"token": {"channel": channel, "topics": ["t"], "key": token.key}, "api_base_url": server.url},
        "key": {"key": token.key, "api_base_url": server.url},
    }[form]
    async with subscribe(channel=channel, topics=["t"], **given) as subscription:
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]


async def test_the_address_of_a_token_is_where_it_is_used(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    async with Realtime(api_base_url="http://127.0.0.1:9", linger=0) as elsewhere:
        async with elsewhere.subscribe(channel=channel, topics=["t"], token=token) as subscription:
            await server.publish(channel, "t", 1)
            assert await receive(subscription, 1) == [1]


async def test_in_sync_code(server: DevServer, realtime: Realtime, channel: str) -> None:
    token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])

    def read() -> object:
        with subscribe_sync(channel=channel, topics=["t"], token=token.to_dict()) as subscription:
            server.publish_sync(channel, "t", 1)
            message = subscription.receive(timeout=5)
            return message.data if message else None

    assert await asyncio.to_thread(read) == 1


@pytest.mark.parametrize("argument", ["key", "token"])
@pytest.mark.parametrize(("other", "topics"), [(True, ["t"]), (False, ["t", "u"]), (False, ["u"])])
async def test_a_token_for_something_else(
    realtime: Realtime, channel: str, argument: str, other: bool, topics: list[str]
) -> None:
    token = await realtime.get_client_subscription_token(channel=fresh() if other else channel, topics=["t"])
    given: Any = {argument: token.key if argument == "key" else token}
    with pytest.raises(AuthenticationError, match="does not cover") as caught:
        await realtime.subscribe(channel=channel, topics=topics, **given)
    assert token.key not in str(caught.value)


async def test_an_expired_token(realtime: Realtime, channel: str) -> None:
    claims = {"exp": 60, "topics": [{"channel": channel, "name": "t", "kind": "run"}]}
    with pytest.raises(AuthenticationError, match="expired"):
        await realtime.subscribe(channel=channel, topics=["t"], key=jwt.encode(claims, "x" * 32, algorithm="HS256"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"key": "k", "token": {"key": "k"}}, "pass one of them"),
        ({"token": "k"}, "pass it as key="),
        ({"token": {}}, "expected a ClientSubscriptionToken"),
        ({"token": 7}, "expected a ClientSubscriptionToken"),
        ({"key": 7}, "key is 7"),
        ({"key": "\ud800"}, "no token has"),
        ({"token": {"key": "\u2026", "apiBaseUrl": "http://a"}}, "no token has"),
        ({"key": ClientSubscriptionToken("k", "http://a")}, "key is a value of type ClientSubscriptionToken"),
    ],
)
async def test_what_is_no_token(realtime: Realtime, channel: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        await realtime.subscribe(channel=channel, topics=["t"], **given)
