"""Servers that cannot stream, or hardly, are told so; and responses that are given something else than a stream."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
from django.http import HttpResponse, StreamingHttpResponse
from fastapi import Depends
from fastapi.encoders import jsonable_encoder
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from flask import Flask, Response, stream_with_context
from sseclient import SSEClient

from inngest_realtime_core import ConfigurationError, Grant, Realtime, allow_anyone
from inngest_realtime_core.endpoints import EndpointRequest, Endpoints
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_fastapi import RealtimeStreamingResponse, server_sent_event
from inngest_realtime_flask import realtime_blueprint, sse_response, subscription_stream
from talk import Pipeline

LOGGER = "inngest_realtime.endpoints"


@pytest.fixture
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def realtime(inngest: DevServer) -> Iterator[Realtime]:
    realtime = Realtime(api_base_url=inngest.url, linger=0)
    yield realtime
    realtime.close_sync()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = False


@contextmanager
def wsgi(app: Any, server_class: type[WSGIServer] = WSGIServer) -> Iterator[str]:
    """The standard library's server: one request at a time, or a thread for each."""

    def called(environ: dict[str, Any], start_response: Any) -> Any:
        # Which wsgiref says to be false whatever it does.
        return app({**environ, "wsgi.multithread": server_class is _Threaded}, start_response)

    server = make_server("127.0.0.1", 0, called, server_class, _Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def flask_app(realtime: Realtime) -> Flask:
    grant = Grant(Pipeline, authorize=allow_anyone)
    app = Flask(__name__)
    app.register_blueprint(realtime_blueprint(realtime, [grant], heartbeat=0.1), url_prefix="/rt")

    @app.get("/own/<run_id>")
    @subscription_stream(realtime, grant)
    def own(run_id: str, stream: Any) -> Response:
        return sse_response(stream)

    @app.get("/silent/<run_id>")
    def silent(run_id: str) -> Response:
        return sse_response(realtime.subscribe_sync(channel=Pipeline(run_id=run_id)).get_encoded_stream())

    return app


@pytest.mark.parametrize("path", ["/rt/pipeline/stream?runId=a", "/own/a"])
def test_a_server_with_one_thread_refuses_streams(
    realtime: Realtime, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with wsgi(flask_app(realtime)) as url:
        answer = httpx.get(url + path, trust_env=False, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "single_threaded_server")
        assert httpx.get(f"{url}/rt/pipeline/token?runId=a", trust_env=False, timeout=30).status_code == 200
    lines = [record for record in caplog.records if getattr(record, "event", "") == "server.single_threaded"]
    assert len(lines) == 1
    assert "gthread" in lines[0].getMessage()
    assert realtime.stats().subscriptions == 0


def test_a_server_with_threads_streams(realtime: Realtime) -> None:
    with wsgi(flask_app(realtime), _Threaded) as url:
        with httpx.stream("GET", f"{url}/rt/pipeline/stream?runId=a", trust_env=False, timeout=30) as answer:
            assert answer.status_code == 200
            assert next(answer.iter_lines()).startswith("retry:")


def test_a_silent_encoded_stream_sends_its_headers_at_once(realtime: Realtime, inngest: DevServer) -> None:
    with wsgi(flask_app(realtime), _Threaded) as url:
        with httpx.stream("GET", f"{url}/silent/a", trust_env=False, timeout=5) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            inngest.publish_sync("pipeline:a", "tokens", "first")
            events = SSEClient(answer.iter_bytes()).events()
            event = next(events)
            assert (event.event, json.loads(event.data)["data"]) == ("message", "first")
            realtime.begin_shutdown()


def test_a_test_client_streams_although_it_has_one_thread(realtime: Realtime) -> None:
    answer = flask_app(realtime).test_client().get("/rt/pipeline/stream?runId=a", buffered=False)
    assert answer.status_code == 200
    answer.close()


def test_a_stranger_learns_nothing_of_the_server(realtime: Realtime) -> None:
    grant = Grant(Pipeline, authorize=lambda request, channel: False)
    app = Flask(__name__)
    app.register_blueprint(realtime_blueprint(realtime, [grant]), url_prefix="/rt")
    with wsgi(app) as url:
        assert httpx.get(f"{url}/rt/pipeline/stream?runId=a", trust_env=False).status_code == 403


# What authorize returns


def _unresolved(request: Any, channel: Any, user: Any = Depends(lambda: "ada")) -> Any:  # noqa: B008
    return user


class User:
    pass


NO_BOOLS: list[tuple[Callable[..., Any], str]] = [
    (lambda request, channel: None, "None"),
    (lambda request, channel: User(), "User"),
    (lambda request, channel: 1, "int"),
    (lambda request, channel: "yes", "str"),
    (_unresolved, "Depends"),
]


@pytest.mark.parametrize(("authorize", "says"), NO_BOOLS)
@pytest.mark.parametrize("sync", [False, True])
async def test_what_is_no_bool_is_told_once(
    realtime: Realtime, authorize: Any, says: str, sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=authorize, name="mine")])
    request = EndpointRequest("GET", "runId=a", {}, None)
    for _ in range(3):
        answer: Any = endpoints.token_sync("mine", request) if sync else await endpoints.token("mine", request)
        assert json.loads(answer.body)["error"]["code"] == "forbidden"
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert len(lines) == 1
    assert "'mine'" in lines[0]
    assert says in lines[0]
    assert "True" in lines[0]


async def test_false_is_an_answer(realtime: Realtime, caplog: pytest.LogCaptureFixture) -> None:
    endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=lambda request, channel: False)])
    await endpoints.token("pipeline", EndpointRequest("GET", "runId=a", {}, None))
    assert not caplog.records


# What a response is given


async def test_an_asgi_response_of_a_wrong_kind(realtime: Realtime) -> None:
    other = Realtime(api_base_url=realtime.settings.api_base_url, linger=0)
    pending: Any = other.subscribe(channel="c", topics=["t"])
    wrong: Any
    with pytest.raises(ConfigurationError, match=r"await realtime\.subscribe"):
        RealtimeStreamingResponse(pending)
    for wrong in (None, "text", b"bytes", [b"a"], iter([b"a"]), (b for b in [b"a"]), Pipeline(run_id="a"), realtime):
        with pytest.raises(ConfigurationError, match="cannot stream"):
            RealtimeStreamingResponse(wrong)
    async with pending as subscription:
        messages: Any = subscription.get_json_stream()
        with pytest.raises(ConfigurationError, match="get_event_stream"):
            RealtimeStreamingResponse(messages)


def test_an_asgi_response_of_a_sync_subscription(realtime: Realtime) -> None:
    with realtime.subscribe_sync(channel="c", topics=["t"]) as opened:
        subscription: Any = opened
        with pytest.raises(ConfigurationError, match=r"await realtime\.subscribe"):
            RealtimeStreamingResponse(subscription)


async def test_a_flask_response_of_a_wrong_kind(realtime: Realtime) -> None:
    other = Realtime(api_base_url=realtime.settings.api_base_url, linger=0)
    wrong: Any
    text: Any
    with Flask(__name__).test_request_context("/"):
        async with other, other.subscribe(channel="c", topics=["t"]) as subscription:
            for wrong in (subscription, subscription.get_event_stream(), other.subscribe(channel="c", topics=["t"])):
                with pytest.raises(ConfigurationError, match=r"subscribe_sync"):
                    sse_response(wrong)
        for text in (None, "text", b"bytes", [b"a"], Pipeline(run_id="a")):
            with pytest.raises(ConfigurationError, match="cannot stream"):
                sse_response(text)


@pytest.mark.parametrize("what", ["subscription", "get_json_stream"])
async def test_a_frameworks_own_response_is_given_messages(realtime: Realtime, channel: str, what: str) -> None:
    """They want bytes: told before the first message, where some would send texts of messages, or wait for the last."""
    options: Any = {"channel": channel, "topics": ["t"]}
    html: Any = {"content_type": "text/html", "charset": "utf-8"}  # what Django asks its settings for
    other = Realtime(api_base_url=realtime.settings.api_base_url, linger=0)

    def opened() -> Any:
        subscription = realtime.subscribe_sync(**options)
        return subscription if what == "subscription" else subscription.get_json_stream()

    async def call(response: StreamingResponse) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: Any) -> None: ...

        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)

    async with other, other.subscribe(**options) as subscription:
        messages: Any = subscription if what == "subscription" else subscription.get_json_stream()
        for response in (StreamingResponse, EventSourceResponse):
            with pytest.raises(ConfigurationError, match="get_event_stream"):
                await asyncio.wait_for(call(response(messages)), 5)
        with pytest.raises(ConfigurationError, match="get_event_stream"):
            StreamingHttpResponse(messages, **html)
    sync = await asyncio.to_thread(opened)
    with pytest.raises(ConfigurationError, match="get_event_stream"):
        await asyncio.wait_for(call(StreamingResponse(sync)), 5)
    for django_response in (StreamingHttpResponse, HttpResponse):
        with pytest.raises(ConfigurationError, match="get_event_stream"):
            django_response(sync, **html)
    with pytest.raises(ConfigurationError, match="get_event_stream"):
        list(Response(sync).iter_encoded())
    with Flask(__name__).test_request_context("/"), pytest.raises(ConfigurationError, match="get_event_stream"):
        stream_with_context(sync)


def test_a_generator_of_messages_in_a_response_of_django(realtime: Realtime, channel: str) -> None:
    """Django sends what `str()` makes of what is no bytes."""
    with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
        realtime.publish_sync((channel, "t"), 1)
        response = StreamingHttpResponse(
            (message for message in subscription), content_type="text/event-stream", charset="utf-8"
        )
        with pytest.raises(ConfigurationError, match="to_event"):
            next(iter(response))
        realtime.publish_sync((channel, "t"), 2)
        message = subscription.receive(timeout=5)
        assert str(message) == repr(message)


def test_a_route_of_fastapi_returns_what_it_has_not_awaited(realtime: Realtime) -> None:
    """FastAPI made JSON of its attributes."""
    with pytest.raises(ValueError, match="opens nothing before it is awaited"):
        jsonable_encoder(realtime.subscribe(channel="c", topics=["t"]))


async def test_an_event_of_a_wrong_kind() -> None:
    wrong: Any
    for wrong in (None, "text", {"data": 1}):
        with pytest.raises(ConfigurationError, match="message"):
            server_sent_event(wrong)
