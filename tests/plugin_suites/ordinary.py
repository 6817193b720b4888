"""Tests as users write them, without an event loop of their own."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Iterator

import httpcore
import httpx
import inngest
import pytest
from application import Pipeline, Status, realtime, run_pipeline
from inngest.experimental import realtime as sdk

from inngest_realtime_core import ConfigurationError, Realtime
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import receive, receive_sync

CHANNEL = Pipeline(run_id="r1")


def test_an_application_that_publishes(inngest_realtime_server: DevServer) -> None:
    with realtime.override(api_base_url=inngest_realtime_server.url):
        run_pipeline("r1")
    (message,) = inngest_realtime_server.published(CHANNEL, "status")
    assert CHANNEL.status.matches(message)
    assert message.data == Status(message="Starting")
    assert message.id is not None


@pytest.mark.parametrize("round", [1, 2])
def test_the_record_is_that_of_one_test(
    inngest_realtime: Realtime, inngest_realtime_server: DevServer, round: int
) -> None:
    assert inngest_realtime_server.published() == []
    assert inngest_realtime_server.stats().publishes == 0
    with inngest_realtime.subscribe_sync(channel=CHANNEL) as stream:
        inngest_realtime.publish_sync(CHANNEL.tokens, "Hel")
        (message,) = receive_sync(stream)
        assert message.data == "Hel"
    (published,) = inngest_realtime_server.published("pipeline:r1")
    assert (published.topic, published.data) == ("tokens", "Hel")
    inngest_realtime_server.reject_tokens(503)
    inngest_realtime_server.reject_publishes(503)
    inngest_realtime_server.reject_connects(503)


@pytest.fixture(scope="session")
def site(inngest_realtime_server: DevServer) -> Iterator[Realtime]:
    """What an application makes once for all tests."""
    realtime = Realtime(api_base_url=inngest_realtime_server.url)
    yield realtime
    realtime.close_sync()


@pytest.mark.parametrize("round", [1, 2])
def test_a_fixture_for_all_tests(site: Realtime, inngest_realtime_server: DevServer, round: int) -> None:
    site.publish_sync(CHANNEL.tokens, "Hel")
    assert len(inngest_realtime_server.published()) == 1
    inngest_realtime_server.reject_publishes(503)


def test_what_is_left_open_is_closed(inngest_realtime: Realtime, inngest_realtime_server: DevServer) -> None:
    inngest_realtime.subscribe_sync(channel="c", topics=["t"])
    inngest_realtime_server.drop_connections()


def test_a_loop_of_its_own(inngest_realtime: Realtime) -> None:
    async def main() -> None:
        stream = await inngest_realtime.subscribe(channel="c", topics=["t"])
        await inngest_realtime.publish(("c", "t"), 1)
        assert [message.data for message in await receive(stream)] == [1]

    asyncio.run(main())


def test_the_environment(inngest_realtime_env: DevServer) -> None:
    assert inngest.Inngest(app_id="app").api_origin == inngest_realtime_env.url
    fresh = Realtime()
    fresh.publish_sync(("c", "t"), 1)
    assert [message.data for message in inngest_realtime_env.published("c", "t")] == [1]
    fresh.close_sync()


def test_production_is_out_of_reach() -> None:
    for url in ("https://api.inngest.com", "http://10.0.0.7:8288"):
        application = Realtime(api_base_url=url, signing_key="signkey-test-" + "ab" * 32)
        with pytest.raises(ConfigurationError, match="not on this machine"):
            application.publish_sync(("c", "t"), 1)
        with pytest.raises(ConfigurationError, match="inngest_realtime_allow"):
            application.get_client_subscription_token_sync(channel="c", topics=["t"])
        with pytest.raises(ConfigurationError, match="not on this machine"):
            application.subscribe_sync(channel="c", topics=["t"])
        application.close_sync()


@pytest.mark.parametrize("url", [None, "http://10.0.0.7:8288"])
def test_the_inngest_package_does_not_reach_production(inngest_realtime_server: DevServer, url: str | None) -> None:
    key = "signkey-test-" + "ab" * 32
    client = inngest.Inngest(
        app_id="app", signing_key=key, event_key="k", is_production=True, api_base_url=url, event_api_base_url=url
    )
    with pytest.raises(ConfigurationError, match="not on this machine"):
        client.send_sync(inngest.Event(name="x"))
    with pytest.raises(ConfigurationError, match="not on this machine"):
        asyncio.run(client.send(inngest.Event(name="x")))
    with pytest.raises(Exception, match="not on this machine"):
        sdk.publish_sync(client=client, channel="c", topic="t", data={})
    # Those of others are not looked at, and neither is what a mock of httpx responds to.
    mock = httpx.MockTransport(lambda request: httpx.Response(204))
    assert httpx.Client(transport=mock).get("https://api.inngest.com").status_code == 204
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://service.invalid")
    # Others replace the same functions: respx calls a coroutine function, and by the argument's name.
    assert inspect.iscoroutinefunction(httpcore.AsyncConnectionPool.handle_async_request)
    assert inspect.getfullargspec(httpcore.ConnectionPool.handle_request).args[1:] == ["request"]


def test_a_proxy_of_the_shell(inngest_realtime_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with realtime.override(api_base_url=inngest_realtime_server.url):
        run_pipeline("r1")
    assert len(inngest_realtime_server.published()) == 1


def test_nothing_was_imported_early() -> None:
    assert "conftest_saw" in sys.modules
    assert sys.modules["conftest_saw"].__dict__["early"] == []
