from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import flask
import httpx
import psutil
import pytest
from a2wsgi import WSGIMiddleware
from flask import Flask, Response, abort, redirect
from werkzeug.serving import make_server

from conformance.client import Client, EventStream
from conformance.servers import ServerCase, gunicorn
from conformance.servers import running as server_process
from conformance.serving import serving
from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_flask import (
    ClientSubscriptionToken,
    Grant,
    InngestRealtime,
    allow_anyone,
    realtime_blueprint,
    sse_response,
    subscription_token,
)

HEARTBEAT = 0.1  # seconds


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Any)


GRANTS = [Grant(Pipeline, authorize=allow_anyone)]


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def realtime(inngest: DevServer) -> Iterator[Realtime]:
    realtime = Realtime(api_base_url=inngest.url, linger=0)
    yield realtime
    realtime.close_sync()


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


@contextlib.contextmanager
def running(app: Flask) -> Iterator[str]:
    """Flask's own threaded development server."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="werkzeug")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.asynccontextmanager
async def client_of(app: Flask) -> AsyncIterator[Client]:
    with running(app) as url:
        async with Client(url) as client:
            yield client


async def until(condition: Any, *, timeout: float = 5.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def request_threads() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


async def test_endpoints_have_names(realtime: Realtime) -> None:
    app = Flask(__name__)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS), url_prefix="/api/realtime")
    app.register_blueprint(realtime_blueprint(realtime, GRANTS, name="other", url_prefix="/other"))
    with app.test_request_context():
        assert flask.url_for("realtime.token", grant="pipeline") == "/api/realtime/pipeline/token"
        assert flask.url_for("other.stream", grant="pipeline") == "/other/pipeline/stream"


async def test_authorize_sees_the_request_and_may_abort(realtime: Realtime, run_id: str) -> None:
    def authorize(request: Any, channel: Pipeline) -> bool:
        assert request is flask.request._get_current_object()  # type: ignore[attr-defined]
        if flask.request.headers.get("x-user") is None:
            abort(Response("Who are you?", 401, {"WWW-Authenticate": "Basic"}))
        return flask.request.headers["x-user"] == flask.current_app.config["OWNER"]

    app = Flask(__name__)
    app.config["OWNER"] = "me"
    app.register_blueprint(
        realtime_blueprint(realtime, [Grant(Pipeline, authorize=authorize)]), url_prefix="/api/realtime"
    )
    async with client_of(app) as client:
        for endpoint in ("token", "stream"):
            refused = await client.get(f"pipeline/{endpoint}", runId=run_id)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Basic")
            other = await client.get(f"pipeline/{endpoint}", runId=run_id, headers={"x-user": "you"})
            assert other.status_code == 403
        assert (await client.get("pipeline/token", runId=run_id, headers={"x-user": "me"})).status_code == 200


async def test_a_form_that_something_before_has_read(realtime: Realtime, run_id: str) -> None:
    app = Flask(__name__)
    app.before_request(lambda: list(flask.request.form) and None)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS), url_prefix="/api/realtime")
    fields = {"runId": run_id, "topics[]": "status"}
    async with client_of(app) as client:
        for body in ({"data": fields}, {"files": [(name, (None, value)) for name, value in fields.items()]}):
            response = await client.http.post("/api/realtime/pipeline/token", **body)
            assert response.status_code == 200, response.text


async def test_csrf_protection_of_flask_wtf(realtime: Realtime, run_id: str) -> None:
    csrf = pytest.importorskip("flask_wtf.csrf", reason="Flask-WTF is not installed; the group test has it.")
    app = Flask(__name__)
    app.secret_key = "of this test"
    csrf.CSRFProtect(app)
    app.register_error_handler(400, lambda error: ("<p>The application's own page</p>", 400))
    app.add_url_rule("/csrf", view_func=csrf.generate_csrf)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS), url_prefix="/api/realtime")
    with running(app) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            token = (await client.get("/csrf")).text
            path = "/api/realtime/pipeline/token"
            refused = await client.post(path, json={"runId": run_id})
            assert (refused.status_code, refused.json()["error"]["message"]) == (400, "The CSRF token is missing.")
            fields = {"runId": run_id, "topics[]": "status"}
            for sent in (
                {"json": {"runId": run_id}, "headers": {"X-CSRFToken": token}},
                {"data": {**fields, "csrf_token": token}},
                {"files": {name: (None, value) for name, value in (*fields.items(), ("csrf_token", token))}},
            ):
                assert "key" in (await client.post(path, **sent)).json()  # type: ignore[arg-type]
            unknown = await client.post(path, data={**fields, "other": "1"}, headers={"X-CSRFToken": token})
            assert unknown.json()["error"]["parameter"] == "other"


async def test_what_is_raised_before_the_view_is_json(realtime: Realtime, run_id: str) -> None:
    app = Flask(__name__)
    app.before_request(lambda: abort(429, description="Slowly.") if flask.request.args.get("fast") else None)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS), url_prefix="/api/realtime")
    with running(app) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            refused = await client.get("/api/realtime/pipeline/token?fast=1")
            assert (refused.status_code, refused.json()["error"]["message"]) == (429, "Slowly.")
            assert "<h1>" in (await client.get("/elsewhere?fast=1")).text


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (Response("Who are you?", 403, {"X-Own": "1"}), "Who are you?"),
        (
            Response("<!doctype html><h1>No</h1>", 403, {"X-Own": "1"}),
            "This request may not subscribe to this channel.",
        ),
    ],
)
async def test_a_response_that_is_aborted_with_is_json(
    realtime: Realtime, run_id: str, response: Response, message: str
) -> None:
    def authorize(request: Any, channel: Pipeline) -> bool:
        abort(response)

    app = Flask(__name__)
    grant = Grant(Pipeline, authorize=authorize)
    app.register_blueprint(realtime_blueprint(realtime, [grant]), url_prefix="/api/realtime")
    async with client_of(app) as client:
        for endpoint in ("token", "stream"):
            refused = await client.get(f"pipeline/{endpoint}", runId=run_id)
            assert (refused.status_code, refused.headers["x-own"]) == (403, "1")
            assert refused.json() == {"error": {"code": "forbidden", "message": message}}


@pytest.mark.parametrize(
    ("own", "status"),
    [(redirect("/login"), 302), (Response('{"mine":1}', 403, mimetype="application/json"), 403)],
)
async def test_what_an_application_answers_itself_is_left(
    realtime: Realtime, run_id: str, own: Any, status: int
) -> None:
    def authorize(request: Any, channel: Pipeline) -> bool:
        abort(own)

    app = Flask(__name__)
    grant = Grant(Pipeline, authorize=authorize)
    app.register_blueprint(realtime_blueprint(realtime, [grant]), url_prefix="/api/realtime")
    async with client_of(app) as client:
        answer = await client.get("pipeline/stream", runId=run_id)
        assert (answer.status_code, answer.content) == (status, own.get_data())


async def test_a_departure_is_noticed_at_the_next_heartbeat(realtime: Realtime, run_id: str) -> None:
    app = Flask(__name__)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS, heartbeat=1.0), url_prefix="/api/realtime")
    async with client_of(app) as client:
        async with client.stream("pipeline/stream", runId=run_id) as stream:
            await stream.next_block()
            assert request_threads() == 1
        assert await until(lambda: realtime.stats().subscriptions == 0 and request_threads() == 0) < 1.3


async def test_a_stream_holds_no_context(realtime: Realtime, inngest: DevServer, run_id: str) -> None:
    """What an application ties to the context, a database session say, is released before the streaming begins."""
    torn_down: list[bool] = []
    asked: list[str] = []

    async def authorize(request: Any, channel: Pipeline) -> bool:
        await asyncio.sleep(0)
        asked.append(flask.request.args["runId"])
        return True

    app = Flask(__name__)
    grant = Grant(Pipeline, authorize=authorize, reauthorize_every=0.05)
    app.register_blueprint(realtime_blueprint(realtime, [grant]), url_prefix="/api/realtime")
    app.teardown_appcontext(lambda error: torn_down.append(True))
    async with client_of(app) as client, client.stream("pipeline/stream", runId=run_id) as stream:
        await stream.next_block()
        await until(lambda: len(asked) >= 3)
        await until(lambda: len(torn_down) >= 3)
        assert set(asked) == {run_id}
        await inngest.publish(f"pipeline:{run_id}", "status", 1)
        assert (await stream.next_event()).json["data"] == 1


async def test_an_own_view(realtime: Realtime, inngest: DevServer, run_id: str) -> None:
    app = Flask(__name__)

    @app.get("/events/<run_id>")
    def events(run_id: str) -> Response:
        stream = realtime.subscribe_sync(channel=Pipeline(run_id=run_id))
        return sse_response(stream, headers={"X-Own": "1"}, heartbeat=HEARTBEAT)

    @app.get("/encoded/<run_id>")
    def encoded(run_id: str) -> Response:
        return sse_response(realtime.subscribe_sync(channel=Pipeline(run_id=run_id)).get_encoded_stream(heartbeat=0.1))

    async with client_of(app) as client:
        async with client.http.stream("GET", f"/events/{run_id}") as response:
            stream = EventStream(response)
            assert response.headers["content-type"] == "text/event-stream"
            assert (response.headers["x-own"], response.headers["x-accel-buffering"]) == ("1", "no")
            assert (await stream.next_block()).retry is not None
            assert (await stream.next_block()).comment
            await inngest.publish(f"pipeline:{run_id}", "status", 1)
            last = (await stream.next_event()).id
            async with client.http.stream("GET", f"/encoded/{run_id}") as other:
                await inngest.publish(f"pipeline:{run_id}", "status", 2)
                assert (await EventStream(other).next_event()).json["data"] == 2
            again = client.http.stream("GET", f"/events/{run_id}", headers={"Last-Event-ID": last or ""})
            async with again as response:
                assert (await EventStream(response).next_event()).json["data"] == 2
        await until(lambda: realtime.stats().subscriptions == 0 and request_threads() == 0)


async def test_a_response_that_is_never_sent_frees_the_stream(realtime: Realtime, run_id: str) -> None:
    app = Flask(__name__)

    @app.get("/")
    def view() -> Response:
        return sse_response(realtime.subscribe_sync(channel=Pipeline(run_id=run_id)))

    def called() -> Response:
        with app.test_request_context("/"):
            return view()

    response = await asyncio.to_thread(called)
    assert realtime.stats().subscriptions == 1
    del response
    await until(lambda: realtime.stats().subscriptions == 0)


async def test_a_view_that_wants_a_token(realtime: Realtime, run_id: str) -> None:
    grant = Grant(Pipeline, authorize=lambda request, channel: request.headers.get("x-user") == "me")
    app = Flask(__name__)

    @app.get("/runs/<run_id>/token")
    @subscription_token(realtime, grant)
    def token(token: ClientSubscriptionToken, run_id: str) -> dict[str, Any]:
        return {"run": run_id, **token.to_dict()}

    async with client_of(app) as client:
        given = await client.http.get(f"/runs/{run_id}/token?theme=dark", headers={"x-user": "me"})
        assert set(given.json()) == {"run", "key", "apiBaseUrl"}
        claims = ClientSubscriptionToken(given.json()["key"], "").read_claims_unverified()
        assert [claim.channel for claim in claims.topics] == [f"pipeline:{run_id}"]
        refused = await client.http.get(f"/runs/{run_id}/token")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        assert refused.headers["cache-control"] == "no-store"
        wrong = await client.http.get(f"/runs/{run_id}/token?topics=nope", headers={"x-user": "me"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (403, "topic_not_granted")


async def test_the_extension_is_set_up_from_the_configuration(inngest: DevServer, run_id: str) -> None:
    extension = InngestRealtime(grants=GRANTS)
    apps = [Flask("one"), Flask("two")]
    apps[0].config["INNGEST_REALTIME_URL_PREFIX"] = "/api/realtime"
    apps[1].config["INNGEST_REALTIME_URL_PREFIX"] = None
    for app in apps:
        app.config["INNGEST_REALTIME_API_BASE_URL"] = inngest.url
        app.config["INNGEST_REALTIME_MAX_STREAMS"] = 1
        extension.init_app(app)
    async with client_of(apps[0]) as client, client.stream("pipeline/stream", runId=run_id):
        assert (await client.get("pipeline/token", runId=run_id)).status_code == 200
        assert (await client.get("pipeline/stream", runId=run_id)).status_code == 503
    with apps[0].app_context():
        one = extension.realtime
        assert one.settings.api_base_url == inngest.url
    with apps[1].app_context():
        assert extension.realtime is not one
        assert flask.current_app.url_map.bind("").test("/api/realtime/pipeline/token") is False
    await asyncio.to_thread(one.close_sync)


async def test_an_extension_that_is_misused_says_so(realtime: Realtime) -> None:
    extension = InngestRealtime(grants=GRANTS)
    with pytest.raises(ConfigurationError, match="init_app"):
        extension.realtime  # noqa: B018
    app = Flask(__name__)
    shared = InngestRealtime(app, realtime=realtime, grants=GRANTS)
    assert shared.realtime is realtime
    with pytest.raises(ConfigurationError, match="once"):
        shared.init_app(app)
    broken = Flask(__name__)
    broken.config["INNGEST_REALTIME_HEARTBEAT"] = 0
    with pytest.raises(ConfigurationError, match="heartbeat"):
        InngestRealtime(broken, realtime=realtime, grants=GRANTS)


async def test_behind_an_asgi_server(realtime: Realtime, inngest: DevServer, run_id: str) -> None:
    app = Flask(__name__)
    app.register_blueprint(realtime_blueprint(realtime, GRANTS, heartbeat=HEARTBEAT), url_prefix="/api/realtime")
    middleware = WSGIMiddleware(app.wsgi_app)  # type: ignore[arg-type]
    with serving(middleware) as url:
        async with Client(url) as client, client.stream("pipeline/stream", runId=run_id) as stream:
            assert (await client.get("pipeline/token", runId=run_id)).status_code == 200
            await inngest.publish(f"pipeline:{run_id}", "status", 1)
            assert (await stream.next_event()).json["data"] == 1
        realtime.begin_shutdown()
        await until(lambda: realtime.stats().subscriptions == 0)
    middleware.executor.shutdown()


async def test_the_flask_command_stops_although_a_stream_is_open(inngest: DevServer, run_id: str) -> None:
    """`flask run`, in a process of its own, is asked to stop with Ctrl-C."""

    def command(port: int, workers: int) -> list[str]:
        return [sys.executable, "-m", "flask", "--app", "conformance.apps.flask", "run", "--port", str(port)]

    with server_process(ServerCase("flask-run", command), inngest.url) as server:
        async with Client(server.url) as client, client.stream("pipeline/stream", runId=run_id) as stream:
            await stream.next_block()
            assert await asyncio.to_thread(server.stop, signal.SIGINT) < 3.0
            with contextlib.suppress(httpx.TransportError):
                await stream.until_end()


async def test_many_streams_on_one_gevent_worker(inngest: DevServer, run_id: str) -> None:
    """200 streams as greenlets of one thread, and the application's own `asyncio.run()` beside them."""
    case = ServerCase("flask-gevent", gunicorn("conformance.apps.flask:app", "--worker-class", "gevent"))
    variables = {"CONFORMANCE_HEARTBEAT": "1", "CONFORMANCE_MAX_STREAMS": "1000"}
    with server_process(case, inngest.url, **variables) as server:
        async with Client(server.url) as client:
            async with contextlib.AsyncExitStack() as stack:

                async def listen() -> EventStream:
                    stream = await stack.enter_async_context(client.stream("pipeline/stream", runId=run_id))
                    await stream.next_block()
                    return stream

                streams = await asyncio.gather(*(listen() for _ in range(200)))
                for number in range(3):
                    await inngest.publish(f"pipeline:{run_id}", "tokens", number)
                    for _ in range(3):
                        assert (await client.http.get("/asyncio")).text == "done"
                for stream in streams:
                    assert [(await stream.next_event()).json["data"] for _ in range(3)] == [0, 1, 2]
                stats = await client.stats()
                assert (stats["subscriptions"], stats["sockets"]) == (200, 1)
                assert native_threads(stats["pid"]) < 10
            await client.until_stats(lambda stats: stats["subscriptions"] == 0)
        assert "Traceback" not in server.log


def native_threads(pid: int) -> int:
    return psutil.Process(pid).num_threads()
