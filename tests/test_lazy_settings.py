"""When the settings of a `Realtime` are read, what is refused when it is given, and `override()`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import inngest
import pytest

from inngest_realtime_core import (
    ConfigurationError,
    Realtime,
    Replay,
    SubscriptionClosedError,
    get_client_subscription_token,
    subscribe,
)
from inngest_realtime_core._api.settings_source import SettingsSource
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline, eventually, fresh, receive, soon

KEY = "signkey-prod-0123456789abcdef"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def other() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


async def test_the_environment_is_read_at_the_first_use(
    server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_DEV", "ftp://nowhere")
    realtime = Realtime()
    assert repr(realtime) == "<Realtime the environment>"
    derived = Realtime(realtime)
    assert repr(derived) == "<Realtime another Realtime>"
    with pytest.raises(ConfigurationError, match="INNGEST_DEV"):
        await realtime.publish((channel, "t"), 1)
    monkeypatch.setenv("INNGEST_DEV", server.url)
    async with realtime, derived:
        await realtime.publish((channel, "t"), 1)
        assert repr(realtime) == f"<Realtime {server.url}>"
        monkeypatch.setenv("INNGEST_DEV", NOWHERE)
        await derived.publish((channel, "t"), 2)
        assert realtime.settings is realtime.settings


@pytest.mark.parametrize("variable", ["INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK"])
def test_a_malformed_key_of_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "hunter2")
    realtime = Realtime(api_base_url=NOWHERE)
    with pytest.raises(ConfigurationError, match=variable):
        _ = realtime.settings


@pytest.mark.parametrize(
    "arguments",
    [
        {"api_base_url": "localhost:8288"},
        {"api_base_url": "127.0.0.1:8288"},
        {"api_base_url": "ftp://a"},
        {"api_base_url": 8288},
        {"client_api_base_url": "[::1]:8288"},
        {"signing_key": "hunter2"},
        {"signing_key": b"signkey-prod-00"},
        {"signing_key_fallback": "signkey-prod-xyz"},
        {"env": "a\nb"},
        {"env": 1},
        {"buffer_size": 1.5},
        {"buffer_size": True},
        {"buffer_size": 0},
        {"buffer_size": "10"},
        {"buffer_bytes": -1},
        {"buffer_bytes": float("nan")},
        {"linger": float("nan")},
        {"linger": float("inf")},
        {"linger": None},
        {"ping_interval": True},
        {"ping_timeout": "1"},
        {"multiplex": "false"},
        {"multiplex": 1},
        {"proxy": "hunter2"},
        {"proxy": 7},
        {"proxy": "ftp://a"},
        {"replay": 5},
        {"replay": Replay},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_when_it_is_given(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ConfigurationError, match=name if "key" not in name else "signing.key") as caught:
        Realtime(**arguments)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "app",
    ["http://127.0.0.1:8288", inngest.Inngest, Realtime, 7, {"settings": 1}, object()],
    ids=lambda app: type(app).__name__,
)
def test_something_else_as_app(app: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"app must be an inngest\.Inngest or a Realtime"):
        Realtime(app)


def test_an_address_without_a_scheme_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match="Write http://localhost:8288"):
        Realtime(api_base_url="localhost:8288")
    dev = inngest.Inngest(app_id="a", is_production=False)
    assert Realtime(dev, api_base_url="localhost:8288").settings.api_base_url == "http://localhost:8288"


async def test_override_of_an_object_that_was_used(server: DevServer, other: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, client_api_base_url="https://public.example") as realtime:
        derived = Realtime(realtime, linger=0)
        outside = await realtime.subscribe(channel=channel, topics=["t"])
        with realtime.override(api_base_url=other.url) as same:
            assert same is realtime
            assert repr(realtime) == f"<Realtime {other.url}>"
            assert realtime.settings.client_api_base_url == other.url
            token = await get_client_subscription_token(realtime, channel=channel, topics=["t"])
            assert token.api_base_url == other.url
            inside = await realtime.subscribe(channel=channel, topics=["t"])
            second = await derived.subscribe(channel=channel, topics=["t"])
            third = await subscribe(app=realtime, channel=channel, topics=["t"])
            await asyncio.to_thread(lambda: realtime.publish_sync((channel, "t"), 1))
            for subscription in (inside, second, third):
                assert await receive(subscription, 1) == [1]
        assert realtime.settings.api_base_url == server.url
        assert realtime.settings.client_api_base_url == "https://public.example"
        with pytest.raises((StopAsyncIteration, SubscriptionClosedError)):
            await soon(anext(inside))
        await realtime.publish((channel, "t"), 2)
        assert await receive(outside, 1) == [2]
        await derived.publish((channel, "t"), 3)
        assert await receive(outside, 1) == [3]
        await derived.close()
    await eventually(lambda: realtime.stats().sockets == 0)


async def test_overrides_nest_and_end_in_any_order(server: DevServer, other: DevServer) -> None:
    realtime = Realtime(api_base_url=NOWHERE)
    first, second = realtime.override(api_base_url=server.url, env="one"), realtime.override(api_base_url=other.url)
    first.__enter__()
    second.__enter__()
    assert (realtime.settings.api_base_url, realtime.settings.env) == (other.url, "one")
    first.__exit__(None, None, None)
    assert (realtime.settings.api_base_url, realtime.settings.env) == (other.url, None)
    second.__exit__(None, None, None)
    assert realtime.settings.api_base_url == NOWHERE


async def test_the_same_override_twice(server: DevServer) -> None:
    realtime = Realtime()
    pipeline = Pipeline(run_id=fresh("run").replace(":", "-"))
    for number in range(2):
        with realtime.override(api_base_url=server.url):
            async with realtime.subscribe(channel=pipeline, topics=[Pipeline.tokens]) as subscription:
                await realtime.publish(pipeline.tokens, str(number))
                assert await receive(subscription, 1) == [str(number)]
    await realtime.close()


def test_an_override_that_is_wrong() -> None:
    realtime = Realtime(api_base_url=NOWHERE)
    for arguments in ({"api_base_url": "ftp://a"}, {"signing_key": "hunter2"}, {"env": " "}):
        with pytest.raises(ConfigurationError):
            with realtime.override(**arguments):  # type: ignore[arg-type]
                raise AssertionError("it was entered")
    assert realtime.settings.api_base_url == NOWHERE


def test_a_source_shows_no_key() -> None:
    source = SettingsSource(None, {"signing_key": KEY})
    assert KEY not in f"{source} {source!r}"
