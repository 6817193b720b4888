"""Wrong kinds in each position of what streams, and of what frameworks are given: an error that says what to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.conf import settings
from flask import Flask

from inngest_realtime_core import ClientSubscriptionToken, ConfigurationError, Grant, Realtime, Replay, allow_anyone
from inngest_realtime_core.endpoints import template_fragments
from inngest_realtime_core.endpoints.routes import hand_over
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_otel import instrument
from inngest_realtime_redis import RedisReplay
from talk import Pipeline
from test_wrong_kinds import REALTIME, WRONG

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="only for tests", USE_TZ=True)
    django.setup()

from django.test import RequestFactory

import inngest_realtime_django
import inngest_realtime_fastapi
import inngest_realtime_flask
import inngest_realtime_starlette
from inngest_realtime_django.requests import is_request
from inngest_realtime_flask import sse_response

REQUEST = RequestFactory().get("/")
GRANT = Grant(Pipeline, authorize=allow_anyone)
FRAMEWORKS = {
    "starlette": inngest_realtime_starlette,
    "fastapi": inngest_realtime_fastapi,
    "django": inngest_realtime_django,
    "flask": inngest_realtime_flask,
}
SECONDS = {"number", "fraction"}
FUNCTIONS = {"function", "class", "other class"}
TEXTS = {"text", "empty", "surrogate"}


def flask_response(**options: Any) -> Callable[[Any], Any]:
    def respond(subscription: Any) -> Any:
        with Flask(__name__).test_request_context("/"):
            return sse_response(subscription, **options)

    return respond


def django_response(**options: Any) -> Callable[[Any], Any]:
    return lambda subscription: inngest_realtime_django.RealtimeStreamingResponse(REQUEST, subscription, **options)


def starlette_response(**options: Any) -> Callable[[Any], Any]:
    return lambda subscription: inngest_realtime_starlette.RealtimeStreamingResponse(subscription, **options)


# Of each option of a stream: what of WRONG is right there.
STREAM_OPTIONS: dict[str, set[str]] = {
    "heartbeat": SECONDS,
    "last_event_id": {"none", *TEXTS},
    "render": {"none", *FUNCTIONS},
    "reauthorize": {"none", *FUNCTIONS},
    "reauthorize_every": {"none", *SECONDS},
}
RESPONSE_OPTIONS = {name: STREAM_OPTIONS[name] for name in ("heartbeat", "render")}
RESPONSE_OPTIONS["send_timeout"] = {"none", *SECONDS}

Give = Callable[[Any, Any], Any]


def event_stream(name: str) -> Give:
    return lambda subscription, value: subscription.get_event_stream(**{name: value})


def response(respond: Callable[..., Callable[[Any], Any]], name: str) -> Give:
    return lambda subscription, value: respond(**{name: value})(subscription)


def helper(module: Any, name: str, give: Give) -> Callable[[Any], Any]:
    return lambda value: give(getattr(module, name), value)


# Of each position: how a stream is made of a subscription with something in it, and what is right there.
POSITIONS: dict[str, tuple[Give, set[str]]] = {
    "encoded heartbeat": (lambda s, x: s.get_encoded_stream(heartbeat=x), {"none", *SECONDS}),
    **{f"event {name}": (event_stream(name), right) for name, right in STREAM_OPTIONS.items()},
}
ASYNC_POSITIONS: dict[str, tuple[Give, set[str]]] = {
    **POSITIONS,
    **{
        f"starlette {name}": (response(starlette_response, name), right)
        for name, right in {**RESPONSE_OPTIONS, "last_event_id": STREAM_OPTIONS["last_event_id"]}.items()
    },
}
SYNC_POSITIONS: dict[str, tuple[Give, set[str]]] = {
    **POSITIONS,
    **{
        f"{framework} {name}": (response(respond, name), right)
        for framework, respond in (("flask", flask_response), ("django", django_response))
        for name, right in RESPONSE_OPTIONS.items()
    },
}
# Of what needs no subscription.
PLAIN_POSITIONS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "Replay published": (lambda x: Replay(published=x), {"flag"}),
    "RedisReplay published": (lambda x: RedisReplay("redis://nowhere", published=x), {"flag"}),
    "RedisReplay namespace": (
        lambda x: RedisReplay("redis://nowhere", namespace=x),
        {"none", "text", "surrogate"},
    ),
    "add_observer": (lambda x: REALTIME.add_observer(x)(), FUNCTIONS),
    "instrument": (lambda x: instrument(x).uninstrument(), {"realtime"}),
    "starlette lifespan": (inngest_realtime_starlette.realtime_lifespan, {"realtime"}),
    "fastapi lifespan": (inngest_realtime_fastapi.realtime_lifespan, {"realtime"}),
    "token key": (lambda x: ClientSubscriptionToken(x, "http://localhost"), TEXTS),
    "token address": (lambda x: ClientSubscriptionToken("key", x), TEXTS),
    "templates source": (lambda x: template_fragments(x, {"status": "status.html"}), FUNCTIONS),
    "templates": (lambda x: template_fragments(str, x), {"dict"}),
    "flask application": (lambda x: inngest_realtime_flask.InngestRealtime(x, realtime=REALTIME), {"none"}),
    "django request": (lambda x: inngest_realtime_django.RealtimeStreamingResponse(x, iter(())), set()),
    **{
        f"{name} {kind} {position}": (helper(module, kind, give), right)
        for name, module in FRAMEWORKS.items()
        for kind in ("subscription_token", "subscription_stream")
        for position, give, right in (
            ("realtime", lambda helper, x: helper(x, GRANT), {"realtime"}),
            ("grant", lambda helper, x: helper(REALTIME, x), set[str]()),
            ("view", lambda helper, x: helper(REALTIME, GRANT)(x), {"function", "class"}),
        )
        if (name, position) != ("fastapi", "view")
    },
    "starlette grants": (lambda x: inngest_realtime_starlette.realtime_routes(REALTIME, x), set()),
    "fastapi grants": (lambda x: inngest_realtime_fastapi.realtime_router(REALTIME, x), set()),
    "flask grants": (lambda x: inngest_realtime_flask.realtime_blueprint(REALTIME, x), set()),
}


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


def refused(give: Callable[[], object], kind: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        give()
    message = str(caught.value)
    assert len(message) > 20, kind
    assert "x:y" not in message, "what is in the wrong place may be a secret"


@pytest.mark.parametrize("position", ASYNC_POSITIONS)
async def test_async_streams(inngest: DevServer, position: str) -> None:
    give, right = ASYNC_POSITIONS[position]
    async with Realtime(api_base_url=inngest.url) as realtime:
        for kind, value in WRONG.items():
            async with realtime.subscribe(channel="c", topics=["t"]) as subscription:
                if kind in right:
                    give(subscription, value)
                else:
                    refused(lambda: give(subscription, value), kind)  # noqa: B023


@pytest.mark.parametrize("position", SYNC_POSITIONS)
def test_sync_streams(inngest: DevServer, position: str) -> None:
    give, right = SYNC_POSITIONS[position]
    realtime = Realtime(api_base_url=inngest.url)
    for kind, value in WRONG.items():
        with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
            if kind in right:
                give(subscription, value)
            else:
                refused(lambda: give(subscription, value), kind)  # noqa: B023
    realtime.close_sync()


async def test_timeouts(inngest: DevServer) -> None:
    async with Realtime(api_base_url=inngest.url) as realtime:
        other = await asyncio.to_thread(lambda: realtime.subscribe_sync(channel="c", topics=["t"]))
        async with realtime.subscribe(channel="c", topics=["t"]) as subscription:
            for kind, value in WRONG.items():
                if kind in ("none", *SECONDS):
                    continue
                with pytest.raises(ConfigurationError, match="timeout"):
                    await subscription.receive(timeout=value)
                with pytest.raises(ConfigurationError, match="timeout"):
                    await asyncio.to_thread(other.receive, value)
            with pytest.raises(TimeoutError):
                await subscription.receive(timeout=-1)  # what is left of a time that is over
        await asyncio.to_thread(other.close)


@pytest.mark.parametrize("position", PLAIN_POSITIONS)
def test_what_needs_no_subscription(position: str) -> None:
    give, right = PLAIN_POSITIONS[position]
    for kind, value in WRONG.items():
        if kind in right:
            give(value)
        else:
            refused(lambda: give(value), kind)  # noqa: B023


def test_what_a_sync_response_can_not_stream(inngest: DevServer) -> None:
    """Iterators of messages above all, which Django would make texts of."""
    realtime = Realtime(api_base_url=inngest.url)
    for respond in (flask_response(), django_response()):
        with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
            for messages in (subscription.get_json_stream(), iter(subscription)):
                with pytest.raises(ConfigurationError, match=r"messages .* get_event_stream"):
                    respond(messages)
            for value in WRONG.values():
                refused(lambda: respond(value), "content")  # noqa: B023
            with pytest.raises(ConfigurationError, match="cannot stream"):
                respond(map(str, ()))
            for right in (subscription.get_encoded_stream(), subscription.get_event_stream(), subscription):
                respond(right)
    realtime.close_sync()


def test_a_view_of_rest_framework_gets_its_token_behind_the_request() -> None:
    """The framework's requests wrap Django's."""
    rest: Any = pytest.importorskip("rest_framework.request", reason="Django REST framework is not installed")
    request: object = rest.Request(REQUEST)

    def view(page: str, request: object, given: str) -> tuple[object, str]:
        return request, given

    assert is_request(request)
    assert not is_request("a text")
    assert hand_over(view, "token", after=is_request)("secret", "page", request) == (request, "secret")
