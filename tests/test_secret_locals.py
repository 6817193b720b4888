"""Error reporters capture the local variables of the frames that an error went through: ours hold no secret."""

from __future__ import annotations

import asyncio
import logging
import pprint
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jwt
import pytest

import inngest_realtime_core
from inngest_realtime_core import ClientSubscriptionToken, Realtime, Settings, get_client_subscription_token, subscribe
from inngest_realtime_core._api.signing import hash_signing_key
from inngest_realtime_devserver.server import DevServer
from talk import fresh, soon

OURS = Path(inngest_realtime_core.__file__).parent
KEY = "signkey-prod-0123456789abcdef0123456789abcdef"
BAD = "signkey-prod-hunter2hunter2hunter2"


def secrets_of(*values: str) -> set[str]:
    """What must not be seen of keys and tokens: the part that lets somebody in."""
    parts = {value.removeprefix("signkey-prod-").split(".")[-1] for value in values}
    return parts | {hash_signing_key(value) for value in values if value == KEY}


def frames(error: BaseException) -> Iterator[tuple[str, dict[str, Any]]]:
    """The frames of an error and of what it came from, as reporters follow them."""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield f"{code.co_filename}:{traceback.tb_lineno} {code.co_qualname}", dict(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next
    linked = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if linked is not None:
        yield from frames(linked)


def check(error: BaseException, secrets: set[str]) -> None:
    for place, variables in frames(error):
        if place.startswith(str(OURS)):
            # pprint looks into dicts and lists, as reporters do; objects show their repr.
            for name, value in variables.items():
                shown = pprint.pformat(value)
                assert not any(secret in shown for secret in secrets), f"{place}: {name}"


def wrong_token(channel: str) -> str:
    return jwt.encode({"topics": [{"channel": channel, "name": "t", "kind": "run"}], "exp": 60}, "x" * 32, "HS256")


def nested(**options: Any) -> Any:
    return lambda: Realtime(**options)


CONSTRUCTIONS: dict[str, Callable[[], object]] = {
    "key": nested(signing_key=BAD),
    "fallback": nested(signing_key=KEY, signing_key_fallback=BAD),
    "address": nested(api_base_url="ftp://a", signing_key=KEY),
    "client address": nested(client_api_base_url=7, signing_key=KEY),
    "branch": nested(signing_key=KEY, env="\n"),
    "option": nested(signing_key=KEY, buffer_size=1.5),
    "proxy": nested(proxy="http://user:hunter2hunter2hunter2@"),
    "settings": lambda: Settings.resolve(signing_key=BAD),
    "settings of an environment": lambda: Settings.resolve(environ={"INNGEST_SIGNING_KEY": BAD}),
    "settings and an address": lambda: Settings.resolve(signing_key=KEY, api_base_url="ftp://a"),
    "override": lambda: Realtime().override(signing_key=BAD).__enter__(),
    "override of the address": lambda: Realtime().override(signing_key=KEY, api_base_url="ftp://a").__enter__(),
    "token": lambda: ClientSubscriptionToken.parse({"key": BAD, "apiBaseUrl": 7}),
    "claims": lambda: ClientSubscriptionToken(BAD, "http://a").read_claims_unverified(),
    "two tokens": lambda: subscribe(channel="c", topics=["t"], key=BAD, token={"key": BAD}),
    "a token as text": lambda: subscribe(channel="c", topics=["t"], token=BAD),  # type: ignore[arg-type]
    "a key and a wrong topic": lambda: subscribe(channel="c", topics=[7], key=BAD),  # type: ignore[list-item]
    "an expired key": lambda: Realtime().subscribe(channel="c", topics=["t"], key=wrong_token("c")),
    "a key for another channel": lambda: subscribe(channel="d", topics=["t"], token={"key": wrong_token("c")}),
}


@pytest.mark.parametrize("what", CONSTRUCTIONS)
def test_what_is_refused_when_it_is_given(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", "1")
    monkeypatch.setenv("INNGEST_SIGNING_KEY", KEY)
    with pytest.raises(inngest_realtime_core.RealtimeError) as caught:
        CONSTRUCTIONS[what]()
    check(caught.value, secrets_of(BAD, KEY, wrong_token("c")))


async def test_a_malformed_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY", BAD)
    for call in calls(Realtime(api_base_url="http://127.0.0.1:9"), fresh()):
        with pytest.raises(inngest_realtime_core.ConfigurationError) as caught:
            await call()
        check(caught.value, secrets_of(BAD))


async def test_a_malformed_key_that_nobody_checked() -> None:
    settings = Settings("http://127.0.0.1:9", "http://127.0.0.1:9", BAD, BAD)
    for call in calls(Realtime(settings), fresh()):  # type: ignore[arg-type]
        with pytest.raises(inngest_realtime_core.RealtimeError) as caught:
            await call()
        check(caught.value, secrets_of(BAD))


def calls(realtime: Realtime, channel: str) -> list[Callable[[], Awaitable[object]]]:
    """Every call that reaches Inngest, async and sync."""
    place, topics = (channel, "t"), ["t"]

    async def subscribing() -> object:
        return await realtime.subscribe(channel=channel, topics=topics)

    return [
        lambda: realtime.get_client_subscription_token(channel=channel, topics=topics),
        lambda: get_client_subscription_token(realtime, channel=channel, topics=topics),
        subscribing,
        lambda: realtime.publish(place, 1),
        lambda: realtime.publish_stream(place, ["a"]),
        lambda: asyncio.to_thread(realtime.publish_sync, place, 1),
        lambda: asyncio.to_thread(realtime.publish_stream_sync, place, ["a"]),
        lambda: asyncio.to_thread(realtime.get_client_subscription_token_sync, channel=channel, topics=topics),
        lambda: asyncio.to_thread(realtime.subscribe_sync, channel=channel, topics=topics),
    ]


@pytest.mark.parametrize("failure", ["unreachable", "refused", "broken", "a web page", "connect refused"])
async def test_what_fails_at_inngest(failure: str) -> None:
    async with DevServer(signing_key=KEY) as server:
        url = {"unreachable": "http://127.0.0.1:9", "a web page": f"{server.url}/x"}.get(failure, server.url)
        other = "signkey-prod-00000000000000000000000000000bad"
        options: dict[str, Any] = {"api_base_url": url, "linger": 0}
        async with Realtime(api_base_url=server.url, signing_key=KEY) as good:
            token = await good.get_client_subscription_token(channel="c", topics=["t"])
        secrets = secrets_of(KEY, other, token.key) | {hash_signing_key(other)}
        if failure == "connect refused":
            server.reject_connects(401)
        elif failure == "broken":
            server.reject_tokens(500)
        keys = {"signing_key": other if failure == "refused" else KEY, "signing_key_fallback": other}
        async with Realtime(**options, **keys) as realtime:
            for call in calls(realtime, fresh()):
                try:
                    await soon(asyncio.ensure_future(call()))
                except inngest_realtime_core.RealtimeError as error:
                    check(error, secrets)
            with pytest.raises(inngest_realtime_core.RealtimeError) as caught:
                await soon(asyncio.ensure_future(_open(realtime, token, url)))
            check(caught.value, secrets)
            await asyncio.to_thread(realtime.close_sync)


async def _open(realtime: Realtime, token: ClientSubscriptionToken, url: str) -> object:
    if url.endswith(("/x", ":9")):
        return await realtime.subscribe(channel="c", topics=["t"], token=token, api_base_url=url)
    return await realtime.subscribe(channel="c", topics=["t"], key="a.b." + token.key)


async def test_what_httpx_logs(server: DevServer, realtime: Realtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await realtime.publish(("private-channel", "private-topic"), 1, metadata={"secret": "hunter2"})
    await asyncio.to_thread(realtime.publish_sync, ("private-channel", "private-topic"), 1)
    lines = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert len(lines) == 2
    for line in lines:
        assert f"{server.url}/v1/realtime/publish" in line
        assert "private" not in line
        assert "hunter2" not in line
    await asyncio.to_thread(realtime.close_sync)
