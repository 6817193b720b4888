"""The public API as the design writes it down: every name, every keyword and every form of a call, against a server.

What this says is promised to users. A test that has to change here is a change of the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import uvicorn
from pydantic import BaseModel

import inngest_realtime
import inngest_realtime_core as core
from inngest_realtime_core import (
    AuthenticationError,
    Channel,
    ClientSubscriptionToken,
    ConcurrentReadError,
    ConnectionLostError,
    Gap,
    Grant,
    Kind,
    Message,
    Realtime,
    RealtimeError,
    Replay,
    allow_anyone,
    get_client_subscription_token,
    get_client_subscription_token_sync,
    subscribe,
    subscribe_sync,
    topic,
)
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import parse_events
from talk import eventually, fresh, soon

ROOT = Path(__file__).parent.parent
EXTRAS = ("starlette", "fastapi", "django", "flask", "redis", "inngest", "devserver", "cli", "otel", "all")
PACKAGES = {
    "starlette": "realtime_routes realtime_lifespan RealtimeStreamingResponse subscription_token subscription_stream",
    "fastapi": "realtime_router realtime_lifespan RealtimeStreamingResponse subscription_token subscription_stream",
    "flask": "realtime_blueprint InngestRealtime subscription_token subscription_stream",
    "functions": "RealtimeMiddleware",
    "redis": "RedisReplay",
    "devserver": "DevServer",
    "cli": "main",
    "otel": "instrument",
}
ENDPOINT_OPTIONS = {
    "heartbeat": 10.0,
    "max_streams": 10_000,
    "max_streams_per_client": None,
    "client": None,
    "authorize_timeout": 10.0,
    "send_timeout": 30.0,
    "max_body": 65_536,
}
# Beside those that the design names.
OTHER_OPTIONS = {"rate_per_client": 20.0, "burst_per_client": 100, "max_channel_length": 512}
SUBSCRIBE = {
    "channel": inspect.Parameter.empty,
    "topics": None,
    "key": None,
    "token": None,
    "api_base_url": None,
    "validate": True,
    "gaps": True,
    "rewind": None,
    "on_message": None,
    "on_error": None,
    "on_state": None,
}


class Status(BaseModel):
    message: str
    step: str | None = None


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)


@pytest.fixture
def ch() -> Pipeline:
    return Pipeline(run_id=fresh("run").replace(":", "-"))


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters that have to be named, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


# -- names and signatures --------------------------------------------------------------------------------------------


def test_extras() -> None:
    import importlib.metadata

    provided = importlib.metadata.metadata("inngest-realtime").get_all("Provides-Extra", [])
    assert set(EXTRAS) == set(provided)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages(package: str) -> None:
    module = importlib.import_module(f"inngest_realtime_{package}")
    for name in PACKAGES[package].split():
        assert callable(getattr(module, name))


def test_the_alias_is_the_core() -> None:
    assert inngest_realtime.__all__ == core.__all__
    for name in core.__all__:
        assert getattr(inngest_realtime, name) is getattr(core, name)


def test_realtime_takes() -> None:
    parameters = inspect.signature(Realtime).parameters
    assert next(iter(parameters)) == "app"
    assert parameters["app"].default is None
    promised = {
        **dict.fromkeys(("api_base_url", "client_api_base_url", "signing_key", "signing_key_fallback", "env")),
        "ping_interval": 10.0,
        "ping_timeout": 10.0,
        "buffer_size": 1024,
        "linger": 30.0,
        "multiplex": True,
        "proxy": None,
        "buffer_bytes": 8 * 2**20,
        "replay": None,
    }
    assert promised.items() <= keywords(Realtime).items()
    assert Replay() == Replay(size=256, max_age=60.0, max_bytes=4 * 2**20, published=True)


def test_subscribe_takes() -> None:
    for function in (subscribe, subscribe_sync):
        assert keywords(function) == {"app": None, **SUBSCRIBE}
    for function in (Realtime.subscribe, Realtime.subscribe_sync):
        assert keywords(function) == SUBSCRIBE


def test_publishing_takes() -> None:
    for name in ("publish", "publish_sync"):
        assert keywords(getattr(Realtime, name))["id"] is None
    for name in ("publish_step", "publish_step_sync"):
        parameters = list(inspect.signature(getattr(Realtime, name)).parameters)
        assert parameters[1:5] == ["ctx", "id", "topic", "data"]
    for name in ("batch", "batch_sync"):
        assert keywords(getattr(Realtime, name))["every"] == 0.05


def test_event_streams_take() -> None:
    for face in (core.Subscription, core.SyncSubscription):
        taken = keywords(face.get_event_stream)
        assert {name: taken[name] for name in ("heartbeat", "last_event_id", "render")} == {
            "heartbeat": 10.0,
            "last_event_id": None,
            "render": None,
        }
        assert keywords(face.get_encoded_stream) == {"heartbeat": None}


def test_redis_replay_takes() -> None:
    from inngest_realtime_redis import RedisReplay

    given = {"size": 256, "max_age": 60.0, "max_bytes": 4 * 2**20, "namespace": None, "published": True}
    assert given.items() <= keywords(RedisReplay).items()
    realtime = Realtime(replay=RedisReplay("redis://127.0.0.1:6379/0", **given))  # connects later
    assert isinstance(realtime, Realtime)


def test_kinds() -> None:
    assert set(get_args(Kind)) == {"data", "run", "datastream-start", "datastream-end", "chunk", "gap"}


def test_grants_take() -> None:
    assert Grant(Pipeline, authorize=allow_anyone).name == "pipeline"
    assert Grant(Pipeline, authorize=allow_anyone, name="runs").name == "runs"
    for rewind in (None, 20, "all"):
        Grant(Pipeline, authorize=allow_anyone, rewind=rewind)  # type: ignore[arg-type]
    Grant(Pipeline, topics=["status", "tokens"], authorize=allow_anyone, rewind=20, rewind_default=5)
    Grant(Pipeline, authorize=allow_anyone, render=lambda message: None, token="full")


def test_each_adapter_takes_the_options_of_endpoints() -> None:
    from inngest_realtime_core.endpoints import EndpointOptions
    from inngest_realtime_django.conf import KEYS
    from inngest_realtime_fastapi import realtime_router
    from inngest_realtime_flask import realtime_blueprint
    from inngest_realtime_starlette import realtime_routes

    known = {**ENDPOINT_OPTIONS, **OTHER_OPTIONS}
    assert vars(EndpointOptions()) == known
    options: dict[str, Any] = {**known, "client": lambda request: None, "max_streams_per_client": 4}
    for make in (realtime_router, realtime_routes, realtime_blueprint):
        make(Realtime(), [Grant(Pipeline, authorize=allow_anyone)], **options)
    assert {"REALTIME", "GRANTS", *(name.upper() for name in known)} == set(KEYS)


def test_what_writers_of_adapters_use() -> None:
    from inngest_realtime_core.endpoints import Endpoints, asgi, wsgi

    assert Endpoints(Realtime(), [])
    assert asgi
    assert wsgi


def test_inngest_takes_the_middleware() -> None:
    import inngest

    from inngest_realtime_functions import RealtimeMiddleware

    assert inngest.Inngest(app_id="shop", middleware=[RealtimeMiddleware], is_production=False)


# -- declarations, tokens, subscriptions -----------------------------------------------------------------------------


def test_channels() -> None:
    ch = Pipeline(run_id="abc123")
    assert ch.name == "pipeline:abc123"


async def test_tokens(server: DevServer, realtime: Realtime, ch: Pipeline) -> None:
    token = await realtime.get_client_subscription_token(channel=ch, topics=["status", "tokens"])
    assert isinstance(token, ClientSubscriptionToken)
    assert isinstance(token, Mapping)
    for mapping in (token.to_dict(), dict(token), json.loads(json.dumps(token))):
        assert set(mapping) == {"key", "apiBaseUrl"}
    assert token["key"] not in repr(token)
    for given in (token, token.to_dict()):
        async with realtime.subscribe(channel=ch, topics=["status"], token=given) as stream:
            await server.publish(ch.name, "status", {"message": "x"})
            assert (await soon(anext(stream))).data == Status(message="x")
    with pytest.raises(AuthenticationError):
        await realtime.subscribe(channel=Pipeline(run_id="other"), topics=["status"], key=token["key"])
    for app in (realtime, Realtime(api_base_url=server.url)):
        assert set(await get_client_subscription_token(app, channel=ch, topics=["status"])) == {"key", "apiBaseUrl"}


async def test_subscriptions(realtime: Realtime, ch: Pipeline) -> None:
    async with realtime.subscribe(channel=ch, topics=["status"]) as stream:
        json_stream, encoded = stream.get_json_stream(), stream.get_encoded_stream()
        await realtime.publish(ch.status, Status(message="Halfway"), id="m-1")
        async for message in stream:
            assert ch.status.matches(message)
            assert message.data.message == "Halfway"
            assert (message.kind, message.id) == ("data", "m-1")
            break
        assert (await soon(anext(json_stream))).data == Status(message="Halfway")
        assert (await soon(anext(encoded))).startswith(b"data: {")
        with pytest.raises(TimeoutError):
            await stream.receive(timeout=0.01)
        waiting = asyncio.ensure_future(stream.receive(timeout=5))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentReadError, match=r"get_json_stream\(\)"):
            await stream.receive(timeout=5)
        await realtime.publish(ch.status, Status(message="Done"))
        found = await waiting
        assert found is not None
        assert found.data.message == "Done"
        stream.close("done")
        assert await stream.receive(timeout=5) is None
    other = await realtime.subscribe(channel=ch)
    assert isinstance(ConcurrentReadError("x"), RealtimeError)
    await other.unsubscribe()
    await (await realtime.subscribe(channel=ch)).close()


async def test_callbacks(server: DevServer, realtime: Realtime, ch: Pipeline) -> None:
    messages: list[Message[Any]] = []
    errors: list[Exception] = []
    states: list[str] = []

    async def handle(message: Message[Any]) -> None:
        messages.append(message)

    await realtime.subscribe(
        channel=ch, topics=["status"], on_message=handle, on_error=errors.append, on_state=states.append
    )
    await server.publish(ch.name, "status", {"message": "kept by its callback"})  # by another publisher: not recorded
    await eventually(lambda: len(messages) == 1)
    server.drop_connections()
    await eventually(lambda: isinstance(messages[-1].data, Gap) and states[-1] == "open")
    assert [type(error) for error in errors] == [ConnectionLostError]
    assert "reconnecting" in states
    assert states[0] == "connecting"


async def test_history(realtime: Realtime, ch: Pipeline) -> None:
    for number in range(3):
        await realtime.publish(ch.tokens, str(number))
    for rewind, expected in ((2, ["1", "2"]), ("all", ["0", "1", "2"])):
        async with realtime.subscribe(channel=ch, topics=["tokens"], rewind=rewind) as stream:  # type: ignore[arg-type]
            assert [(await soon(anext(stream))).data for _ in expected] == expected


async def test_event_streams(realtime: Realtime, ch: Pipeline) -> None:
    async with realtime.subscribe(channel=ch, topics=["status"]) as stream:
        html = stream.get_event_stream(heartbeat=5.0, last_event_id=None, render=lambda message: "<b>x</b>")
        assert b"event: ready" in await soon(anext(html))
        await realtime.publish(ch.status, Status(message="x"))
        assert b"event: status\ndata: <b>x</b>" in await soon(anext(html))
        await html.aclose()


async def test_batches(realtime: Realtime, ch: Pipeline) -> None:
    async with realtime.subscribe(channel=ch, topics=["tokens"]) as stream:
        async with realtime.batch(ch.tokens, every=0.05) as tokens:
            await tokens.send("Hel")
            await tokens.send("lo")
        assert (await soon(anext(stream))).data == "Hello"


async def test_other_forms(server: DevServer, realtime: Realtime, ch: Pipeline) -> None:
    async with subscribe(app=realtime, channel=ch, topics=["status"], gaps=False, validate=False) as stream:
        assert stream.topics == ("status",)
    async with subscribe(app=Realtime(api_base_url=server.url), channel="plain", topics=["t"]) as stream:
        await realtime.publish(("plain", "t"), 1)
        assert (await soon(anext(stream))).data == 1


def test_sync_forms() -> None:
    ch = Pipeline(run_id="sync")
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url, linger=0)
        subscription = realtime.subscribe_sync(channel=ch, topics=["status", "tokens"])
        realtime.publish_sync(ch.status, Status(message="Halfway"))
        for message in subscription:
            assert message.data == Status(message="Halfway")
            break
        with realtime.batch_sync(ch.tokens, every=0.05) as tokens:
            tokens.send("x")
        found = subscription.receive(timeout=5)
        assert found is not None
        assert found.data == "x"
        subscription.close("done")
        assert subscription.receive(timeout=5) is None
        assert set(get_client_subscription_token_sync(realtime, channel=ch, topics=["status"])) == {"key", "apiBaseUrl"}
        with subscribe_sync(app=realtime, channel=ch) as again:
            assert again.topics == ("status", "tokens")
        realtime.close_sync()


async def test_numbers(realtime: Realtime) -> None:
    stats = realtime.stats()
    for name in ("sockets", "channels", "received", "delivered", "dropped", "gaps", "reconnects"):
        assert getattr(stats, name) == 0
    assert realtime.health().ok
    realtime.begin_shutdown()
    assert not realtime.health().ok


# -- an application's own object, in tests ---------------------------------------------------------------------------


@pytest.fixture
def dev() -> Iterator[DevServer]:
    """As `inngest_realtime_server`, which would have this whole run call no other address."""
    with DevServer().in_thread() as server:
        yield server


def test_the_environment_is_read_at_the_first_use(dev: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    realtime = Realtime()
    monkeypatch.setenv("INNGEST_DEV", dev.url)
    realtime.publish_sync(("c", "t"), 1)
    assert [message.data for message in dev.published()] == [1]
    realtime.close_sync()


def test_override_and_published(dev: DevServer) -> None:
    realtime = Realtime(api_base_url="http://127.0.0.1:1")
    ch = Pipeline(run_id="r")
    with realtime.override(api_base_url=dev.url):
        realtime.publish_sync(ch.status, Status(message="x"))
        realtime.publish_sync(ch.tokens, "y")
    published = dev.published
    assert len(published()) == len(published(ch)) == len(published("pipeline:r")) == 2
    for message in (*published(ch, "status"), *published(channel=ch, topic="status")):
        assert message.data == Status(message="x")
    realtime.close_sync()


def test_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "def test_it(inngest_realtime, inngest_realtime_server):\n"
        "    assert inngest_realtime.settings.api_base_url == inngest_realtime_server.url\n"
        "    inngest_realtime.publish_sync(('c', 't'), 1)\n"
        "    assert [message.data for message in inngest_realtime_server.published('c', 't')] == [1]\n"
    )
    done = run("pytest", "-q", "-W", "error", "-p", "no:asyncio", cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout


# -- the endpoints ---------------------------------------------------------------------------------------------------

GRANTS = [
    Grant(Pipeline, topics=["status", "tokens"], authorize=allow_anyone, rewind=20),
    Grant(Pipeline, authorize=allow_anyone, name="html", render=lambda m: "<b>x</b>", token="full", may_overlap=True),
]


def fastapi_application(realtime: Realtime) -> Any:
    from fastapi import Depends, FastAPI
    from starlette.responses import StreamingResponse

    from inngest_realtime_fastapi import realtime_router, subscription_stream, subscription_token

    app = FastAPI()
    app.include_router(realtime_router(realtime, GRANTS), prefix="/api/realtime")
    token_of = Depends(subscription_token(realtime, GRANTS[0]))
    stream_of = Depends(subscription_stream(realtime, GRANTS[0]))

    @app.get("/own/{run_id}/token", response_model=None)
    async def own_token(token: Any = token_of) -> Any:
        return token

    @app.get("/own/{run_id}/stream", response_model=None)
    async def own_stream(stream: Any = stream_of) -> Any:
        return StreamingResponse(stream.get_event_stream(), media_type="text/event-stream")

    return app


def starlette_application(realtime: Realtime) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    from inngest_realtime_starlette import (
        RealtimeStreamingResponse,
        realtime_routes,
        subscription_stream,
        subscription_token,
    )

    @subscription_token(realtime, GRANTS[0])
    async def own_token(request: Any, token: Any) -> Any:
        return JSONResponse(token)

    @subscription_stream(realtime, GRANTS[0])
    async def own_stream(request: Any, stream: Any) -> Any:
        return RealtimeStreamingResponse(stream)

    return Starlette(
        routes=[
            Mount("/api/realtime", routes=realtime_routes(realtime, GRANTS)),
            Route("/own/{run_id}/token", own_token),
            Route("/own/{run_id}/stream", own_stream),
        ]
    )


def flask_application(realtime: Realtime) -> Any:
    from flask import Flask, jsonify

    from inngest_realtime_flask import realtime_blueprint, sse_response, subscription_stream, subscription_token

    app = Flask(__name__)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS), url_prefix="/api/realtime")

    @app.get("/own/<run_id>/token")
    @subscription_token(realtime, GRANTS[0])
    def own_token(run_id: str, token: Any) -> Any:
        return jsonify(token)

    @app.get("/own/<run_id>/stream")
    @subscription_stream(realtime, GRANTS[0])
    def own_stream(run_id: str, stream: Any) -> Any:
        return sse_response(stream)

    return app


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    if hasattr(app, "wsgi_app"):
        from werkzeug.serving import make_server

        wsgi = make_server("127.0.0.1", 0, app, threaded=True)
        wsgi.daemon_threads = True
        address, run, stop = wsgi.server_port, wsgi.serve_forever, wsgi.shutdown
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        asgi = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))

        def stop() -> None:
            asgi.should_exit = asgi.force_exit = True

        address = listener.getsockname()[1]
        run = functools.partial(asgi.run, sockets=[listener])
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{address}"
    finally:
        stop()
        thread.join(10)


@pytest.mark.parametrize("make", [fastapi_application, starlette_application, flask_application])
async def test_what_the_endpoints_serve(make: Callable[[Realtime], Any], server: DevServer, realtime: Realtime) -> None:
    run_id = fresh("run").replace(":", "-")
    query = {"runId": run_id}
    await realtime.publish(Pipeline(run_id=run_id).status, Status(message="before"))
    with serving(make(realtime)) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as site:
            base = "/api/realtime/pipeline"
            for answer in (
                await site.get(f"{base}/token", params=query),
                await site.post(f"{base}/token", json={"runId": run_id}),
                await site.get(f"/own/{run_id}/token"),
            ):
                assert set(answer.json()) == {"key", "apiBaseUrl"}, answer.text
                assert answer.headers["cache-control"] == "no-store"
            for answer in (
                await site.get(f"{base}/token", params={**query, "full": "true"}),
                await site.get("/api/realtime/html/token", params=query),
            ):
                assert set(answer.json()) == {"key", "apiBaseUrl", "channel", "topics"}
            assert "export function subscribe" in (await site.get("/api/realtime/client.js")).text
            streams = [
                (f"{base}/stream", {**query, "rewind": "20", "topics": "status"}, '"before"'),
                ("/api/realtime/html/stream", {**query, "format": "json"}, '"kind":"ready"'),
                ("/api/realtime/html/stream", query, "event: ready"),
                (f"/own/{run_id}/stream", {}, "event: ready"),
            ]
            for path, params, expected in streams:
                async with site.stream("GET", path, params=params) as stream:
                    assert stream.headers["content-type"].startswith("text/event-stream")
                    text = ""
                    async for piece in stream.aiter_text():
                        text += piece
                        if expected in text:
                            break
                assert parse_events(text)[0].event == "ready"
            refused = await site.get("/api/realtime/html/stream", params={**query, "rewind": "1"})
            assert refused.status_code == 403
        realtime.begin_shutdown()  # the streams of clients that have left, which a thread has not noticed yet
        await asyncio.to_thread(realtime.close_sync)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["tail", "publish", "token", "types", "doctor", "devserver"])
def test_commands(command: str) -> None:
    done = run("inngest_realtime_cli", command, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_types(tmp_path: Path) -> None:
    (tmp_path / "channels.py").write_text(
        "from inngest_realtime import Channel, topic\n\n\n"
        'class Job(Channel, name="job:{job_id}"):\n    job_id: int\n    progress = topic(float)\n'
    )
    out = tmp_path / "channels.ts"
    done = run("inngest_realtime_cli", "types", "channels", "--zod", "--out", str(out), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "export const job" in out.read_text()
    assert "jobId" in out.read_text()
    again = run("inngest_realtime_cli", "types", "channels", "--zod", "--out", str(out), "--check", cwd=tmp_path)
    assert again.returncode == 0


def test_the_embedded_server_is_a_program() -> None:
    assert run("inngest_realtime_devserver", "--help").returncode == 0


def run(module: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)
