"""Error reporters capture the local variables of the frames that an error went through: ours hold no secret."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import pprint
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import httpx
import inngest
import jwt
import pytest
from django.conf import settings as django_settings
from django.test import RequestFactory
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route

import inngest_realtime_core
import inngest_realtime_django
import inngest_realtime_flask
import inngest_realtime_starlette
from inngest_realtime_cli.inngest_checks import check_inngest
from inngest_realtime_core import (
    Channel,
    ClientSubscriptionToken,
    Grant,
    Realtime,
    Settings,
    allow_anyone,
    get_client_subscription_token,
    subscribe,
    topic,
)
from inngest_realtime_core._api.http import HttpRequest, HttpResponse, hash_signing_key
from inngest_realtime_core._api.tokens import IssuedToken
from inngest_realtime_core._hub.options import HubOptions, Source
from inngest_realtime_core.endpoints import EndpointRequest, Endpoints
from inngest_realtime_core.subscriptions.key import SubscriptionKey
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from talk import fresh, soon

if not django_settings.configured:
    django_settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="only for tests", USE_TZ=True)

ROOT = Path(inngest_realtime_core.__file__).parents[1]
OURS = (str(ROOT / "inngest_realtime_core"), str(ROOT / "integrations"))
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
    for linked in linked_to(error):
        yield from frames(linked)


def linked_to(error: BaseException) -> list[BaseException]:
    """What an error came from, also what `from None` hides from tracebacks: it is still there."""
    members: list[BaseException] = list(getattr(error, "exceptions", ()))
    return members + [each for each in {error.__cause__, error.__context__} if each is not None]


def check(error: BaseException, secrets: set[str]) -> None:
    for place, variables in frames(error):
        if place.startswith(OURS):
            for name, value in variables.items():
                for shown in as_reported(value):
                    assert not any(secret in shown for secret in secrets), f"{place}: {name}"
    check_said(error, secrets)


def as_reported(value: Any) -> Iterator[str]:
    """What reports show of a value. pprint looks into dicts and lists; objects show their repr."""
    yield pprint.pformat(value)
    if isinstance(value, Mapping):  # Sentry and `rich` look into every kind of it
        for item in cast("Mapping[object, object]", value).items():
            yield from map(pprint.pformat, item)
    rich_repr: Any = getattr(type(value), "__rich_repr__", None)
    if rich_repr is not None:
        yield pprint.pformat(list(rich_repr(value)))


def check_said(error: BaseException, secrets: set[str]) -> None:
    """What an error says of itself: its text, attributes and notes."""
    said = [str(error), repr(error), pprint.pformat(vars(error)), *map(pprint.pformat, error.args)]
    assert not any(secret in text for secret in secrets for text in said), type(error)
    for linked in linked_to(error):
        check_said(linked, secrets)


PASSWORD = BAD.rpartition("-")[2]


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
    "proxy of another kind": nested(proxy="ftp://user:hunter2hunter2hunter2@a"),
    "redis of another kind": lambda: RedisReplay("http://user:hunter2hunter2hunter2@a"),
    "redis that is no address": lambda: RedisReplay("redis://user:hunter2hunter2hunter2@a:b:c/x"),
    "redis and a wrong size": lambda: RedisReplay("redis://user:hunter2hunter2hunter2@a", size=-5),
    "redis and a wrong age": lambda: RedisReplay("redis://user:hunter2hunter2hunter2@a", max_age=float("nan")),
    "redis and a wrong namespace": lambda: RedisReplay("redis://user:hunter2hunter2hunter2@a", namespace="{"),
    "an address with a password": nested(api_base_url=f"http://user:{PASSWORD}@a"),
    "an address that is none": nested(api_base_url=f"http://user:{PASSWORD}@a:b"),
    "a client's address": nested(api_base_url="http://a", client_api_base_url=f"http://user:{PASSWORD}@a"),
    "redis without its class": nested(replay=f"redis://user:{PASSWORD}@a"),
    "the address of settings": lambda: Settings.resolve(api_base_url=f"http://user:{PASSWORD}@[a"),
    "settings elsewhere": lambda: Settings("http://a", "http://a", KEY).at(f"http://user:{PASSWORD}@a"),
    "override and a password": lambda: Realtime().override(api_base_url=f"http://u:{PASSWORD}@a").__enter__(),
    "override with a proxy": lambda: Realtime(proxy=f"http://u:{PASSWORD}@a").override(signing_key=BAD).__enter__(),
    "elsewhere": lambda: Realtime().subscribe(channel="c", topics=["t"], api_base_url=f"http://u:{PASSWORD}@a"),
    "elsewhere, sync": lambda: Realtime().subscribe_sync(channel="c", topics=["t"], api_base_url=f"ftp://{PASSWORD}"),
    "elsewhere, alone": lambda: subscribe(channel="c", topics=["t"], key=KEY, api_base_url=f"http://u:{PASSWORD}@a"),
    "elsewhere, by a token": lambda: subscribe(
        channel="c", topics=["t"], token={"key": BAD, "apiBaseUrl": f"http://u:{PASSWORD}@a"}
    ),
    "pickled": lambda: pickle.dumps(Realtime(api_base_url="http://a", signing_key=KEY)),
    "copied": lambda: copy.deepcopy(Realtime(api_base_url="http://a", signing_key=KEY)),
    "a token in JSON": lambda: ClientSubscriptionToken.parse(f'{{"key": "{BAD}"}}'),
    "a token in a list": lambda: ClientSubscriptionToken.parse([BAD]),
    "a token without a text": lambda: ClientSubscriptionToken(BAD, 7),  # type: ignore[arg-type]
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
    # A step raises what ends the run, once `inngest` has been imported.
    for call in calls(Realtime(api_base_url="http://127.0.0.1:9"), fresh()):
        with pytest.raises((inngest_realtime_core.ConfigurationError, inngest.NonRetriableError)) as caught:
            await call()
        check(caught.value, secrets_of(BAD))


async def test_a_malformed_key_that_nobody_checked() -> None:
    settings = Settings("http://127.0.0.1:9", "http://127.0.0.1:9", BAD, BAD)
    for call in calls(Realtime(settings), fresh()):  # type: ignore[arg-type]
        with pytest.raises((inngest_realtime_core.RealtimeError, inngest.NonRetriableError)) as caught:
            await call()
        check(caught.value, secrets_of(BAD))


def calls(realtime: Realtime, channel: str) -> list[Callable[[], Awaitable[object]]]:
    """Every call that reaches Inngest, async and sync."""
    place, topics = (channel, "t"), ["t"]
    texts = Texts(name_of=channel.replace(":", "-")).texts
    step, sync_step = Context(AsyncStep()), Context(SyncStep())

    async def batching() -> object:
        async with realtime.batch(texts, every=0.001) as batch:
            await batch.send("a")
            await asyncio.sleep(0.01)
            await batch.send("b")
        return None

    def batching_sync() -> object:
        with realtime.batch_sync(texts, every=0.001) as batch:
            batch.send("a")
            batch.send("b")
        return None

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
        lambda: realtime.publish_step(step, "step", place, 1),
        lambda: asyncio.to_thread(realtime.publish_step_sync, sync_step, "step", place, 1),
        batching,
        lambda: asyncio.to_thread(batching_sync),
    ]


class Texts(Channel, name="texts:{name_of}"):
    name_of: str
    texts = topic(str)


class Context:
    """What is used of the context of an Inngest function."""

    def __init__(self, step: Any) -> None:
        self.step = step
        self.run_id = "01JDRT2Z9XQ4N7B5C8D1E3F6G9"


class AsyncStep:
    async def run(self, step_id: str, handler: Callable[[], Awaitable[Any]], /) -> Any:
        return await handler()


class SyncStep:
    def run(self, step_id: str, handler: Callable[[], Any], /) -> Any:
        return handler()


@pytest.mark.parametrize(
    "proxy", ["http://user:hunter2hunter2hunter2@127.0.0.1:9", "socks5://u:hunter2hunter2hunter2@a"]
)
@pytest.mark.parametrize("environment", [False, True])
async def test_a_proxy_that_fails(proxy: str, environment: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if environment:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
    given: dict[str, Any] = {} if environment else {"proxy": proxy}
    async with Realtime(api_base_url="http://inngest.invalid", signing_key=KEY, **given) as realtime:
        failed = 0
        for call in calls(realtime, fresh()):
            try:
                await asyncio.wait_for(call(), 15)
            except Exception as error:
                failed += 1
                check(error, secrets_of(BAD, KEY))
        assert failed > 10
        await asyncio.to_thread(realtime.close_sync)


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
            # The doctor catches what it meets, and says it.
            said = [str(finding) async for finding in check_inngest(realtime)]
            assert not [line for line in said if any(secret in line for secret in secrets)]
            with pytest.raises(inngest_realtime_core.RealtimeError) as caught:
                await soon(asyncio.ensure_future(_open(realtime, token, url)))
            check(caught.value, secrets)
            await asyncio.to_thread(realtime.close_sync)


async def _open(realtime: Realtime, token: ClientSubscriptionToken, url: str) -> object:
    if url.endswith(("/x", ":9")):
        return await realtime.subscribe(channel="c", topics=["t"], token=token, api_base_url=url)
    return await realtime.subscribe(channel="c", topics=["t"], key="a.b." + token.key)


@pytest.mark.parametrize("path", ["token", "stream"])
@pytest.mark.parametrize("sync", [False, True])
async def test_what_a_request_says_of_its_sender(path: str, sync: bool) -> None:
    """Cookies and tokens of a request are in no frame of ours, beside the framework's own request."""

    def fails(request: object, channel: object) -> bool:
        raise LookupError

    grant = Grant(Texts, authorize=fails, extra_parameters=["access_token"])
    endpoints = Endpoints(Realtime(api_base_url="http://127.0.0.1:9"), [grant])
    headers = [(b"cookie", b"session=" + BAD.encode()), (b"authorization", BAD.encode()), (b"content-type", b"a/b")]
    scope = {"method": "GET", "query_string": b"nameOf=a&access_token=" + BAD.encode(), "headers": headers}
    request = EndpointRequest.from_scope(scope, object())
    answer = getattr(endpoints, f"{path}_sync" if sync else path)
    with pytest.raises(LookupError) as caught:
        answer("texts", request) if sync else await answer("texts", request)
    check(caught.value, secrets_of(BAD))
    assert request.headers == {"content-type": "a/b"}


def _fails(*args: object, **kwargs: object) -> Any:
    raise LookupError


def _failing_views(realtime: Realtime, grant: Grant) -> dict[str, Callable[[], object]]:
    """A view of each framework that fails with the token that it was given."""
    view = inngest_realtime_starlette.subscription_token(realtime, grant)(_fails)
    starlette = Starlette(routes=[Route("/{name_of}", view)])

    async def get() -> object:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(starlette), base_url="http://a") as client:
            return await client.get("/a")

    app = Flask("app")
    app.testing = True
    app.add_url_rule("/<name_of>", view_func=inngest_realtime_flask.subscription_token(realtime, grant)(_fails))
    request = RequestFactory().get("/a?nameOf=a")
    django = inngest_realtime_django.subscription_token(realtime, grant)(_fails)
    return {
        "starlette": lambda: asyncio.run(get()),
        "flask": lambda: app.test_client().get("/a"),
        "django": lambda: django(request),
    }


@pytest.mark.parametrize("framework", ["starlette", "flask", "django"])
async def test_a_view_that_fails_with_its_token(framework: str) -> None:
    async with DevServer(signing_key=KEY) as server:
        realtime = Realtime(api_base_url=server.url, signing_key=KEY)
        view = _failing_views(realtime, Grant(Texts, authorize=allow_anyone))[framework]
        with pytest.raises(LookupError) as caught:
            await asyncio.to_thread(view)
        assert server.stats().token_requests == 1
        check(caught.value, {"eyJ"})  # how a JWT begins
        await asyncio.to_thread(realtime.close_sync)


@pytest.mark.parametrize(
    "value",
    [
        Settings("http://a", "http://a", KEY, BAD),
        HubOptions(proxy=f"http://u:{PASSWORD}@a"),
        Source(None, BAD),
        SubscriptionKey(BAD, "http://a"),
        IssuedToken(BAD, None),
        HttpRequest("GET", "http://a", {"authorization": BAD}, b""),
        HttpResponse(200, {}, BAD.encode()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_reports_show_of_what_holds_a_secret(value: object) -> None:
    shown = " ".join(as_reported(value))
    assert type(value).__name__ in shown
    assert not any(secret in shown for secret in secrets_of(KEY, BAD))


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
