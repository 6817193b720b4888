# No `from __future__ import annotations`: FastAPI could not find the local names in the annotations below.

import asyncio
import inspect
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from typing import Annotated, Any

import fastapi
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse

from conformance.client import Client, EventStream
from conformance.serving import serving
from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_fastapi import (
    ClientSubscriptionToken,
    RealtimeStreamingResponse,
    Subscription,
    realtime_router,
    server_sent_event,
    subscription_stream,
    subscription_token,
)

try:
    from fastapi import sse
except ImportError:  # FastAPI before 0.135 has no server-sent events of its own
    sse = None

# Before FastAPI 0.118, dependencies end before the response is sent; since then after it, and 0.121 gives the choice.
SCOPES = "scope" in inspect.signature(Depends).parameters
PINNED = not SCOPES and tuple(map(int, fastapi.__version__.split(".")[:2])) >= (0, 118)


class Region(Enum):
    EU = "eu"
    US = "us"


class Pipeline(Channel, name="pipeline:{region}:{run_no}"):
    region: Region
    run_no: int
    status = topic(Any)
    tokens = topic(Any)


def may_view(request: Request, channel: Pipeline) -> bool:
    user = request.headers.get("x-user")
    if user is None:
        raise HTTPException(401, "Who are you?", headers={"WWW-Authenticate": "Bearer"})
    return user == "member"


PIPELINE = Grant(Pipeline, authorize=may_view, extra_parameters=["api_key"])
NEWS = Grant("news", ["headline"], authorize=allow_anyone)
MEMBER = {"x-user": "member"}


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
async def realtime(inngest: DevServer) -> AsyncIterator[Realtime]:
    async with Realtime(api_base_url=inngest.url, linger=0) as realtime:
        yield realtime


@pytest.fixture
def run_no() -> int:
    return uuid.uuid4().int % 10**12


async def until_free(realtime: Realtime) -> None:
    deadline = time.monotonic() + 5
    while realtime.stats().subscriptions:
        assert time.monotonic() < deadline, realtime.stats()
        await asyncio.sleep(0.005)


# The router


def openapi(**router_options: Any) -> dict[str, Any]:
    app = FastAPI()
    app.include_router(realtime_router(Realtime(), [PIPELINE, NEWS], **router_options), prefix="/api/realtime")
    return app.openapi()


def test_openapi_knows_each_grant() -> None:
    document = openapi()
    assert list(document["paths"]) == [
        f"/api/realtime/{grant}/{endpoint}" for grant in ("pipeline", "news") for endpoint in ("token", "stream")
    ]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 6
    assert all(operation["tags"] == ["realtime"] for operation in operations)


def test_openapi_knows_the_parameters() -> None:
    path = openapi()["paths"]["/api/realtime/pipeline/stream"]["get"]
    parameters = {parameter["name"]: parameter for parameter in path["parameters"]}
    assert list(parameters) == ["region", "runNo", "topics", "api_key", "lastEventId", "Last-Event-ID"]
    assert parameters["runNo"] == {"name": "runNo", "in": "query", "required": True, "schema": {"type": "integer"}}
    assert parameters["region"]["schema"]["enum"] == ["eu", "us"]
    assert parameters["topics"]["required"] is False
    assert parameters["topics"]["schema"]["items"]["enum"] == ["status", "tokens"]
    assert parameters["Last-Event-ID"]["in"] == "header"


def test_openapi_knows_the_answers() -> None:
    document = openapi()
    stream = document["paths"]["/api/realtime/pipeline/stream"]["get"]["responses"]
    assert list(stream["200"]["content"]) == ["text/event-stream"]
    token = document["paths"]["/api/realtime/pipeline/token"]["get"]["responses"]
    assert token["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/TokenBody"}
    assert set(document["components"]["schemas"]["TokenBody"]["properties"]) == {"key", "apiBaseUrl"}
    for responses in (stream, token):
        assert set(responses) == {"200", "400", "403", "413", "422", "429", "502", "503"}
        for status in set(responses) - {"200"}:
            assert responses[status]["content"] == {
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
            }


def test_openapi_knows_the_body() -> None:
    post = openapi()["paths"]["/api/realtime/pipeline/token"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"region", "runNo", "topics"}
    assert not any(parameter["required"] for parameter in post["parameters"])


async def test_router_options_reach_the_router(realtime: Realtime) -> None:
    def key(api_key: str) -> None:
        if api_key != "right":
            raise HTTPException(401, "Wrong key.")

    app = FastAPI()
    app.include_router(
        realtime_router(realtime, [PIPELINE], prefix="/api/realtime", tags=["live"], dependencies=[Depends(key)])
    )
    assert app.openapi()["paths"]["/api/realtime/pipeline/token"]["get"]["tags"] == ["live"]
    with serving(app) as url:
        async with Client(url) as client:
            wrong = await client.get("pipeline/token", region="eu", runNo=1, api_key="wrong", headers=MEMBER)
            assert (wrong.status_code, wrong.json()) == (401, {"detail": "Wrong key."})
            right = await client.get("pipeline/token", region="eu", runNo=1, api_key="right", headers=MEMBER)
            assert right.status_code == 200


async def test_authorize_may_raise_an_http_exception(realtime: Realtime) -> None:
    app = FastAPI()
    app.include_router(realtime_router(realtime, [PIPELINE]), prefix="/api/realtime")
    with serving(app) as url:
        async with Client(url) as client:
            response = await client.get("pipeline/stream", region="eu", runNo=1)
            assert (response.status_code, response.json()) == (401, {"detail": "Who are you?"})
            assert response.headers["www-authenticate"] == "Bearer"


# Own path operations


class Held:
    """A request-scoped resource that counts who holds it."""

    def __init__(self) -> None:
        self.open = 0
        self.opened = 0

    async def __call__(self) -> AsyncIterator[object]:
        self.open += 1
        self.opened += 1
        try:
            yield object()
        finally:
            self.open -= 1


def application(realtime: Realtime, held: Held) -> FastAPI:
    app = FastAPI()
    token_dependency = Depends(subscription_token(realtime, PIPELINE))
    stream_dependency = Depends(subscription_stream(realtime, PIPELINE))
    session = Depends(held, scope="function") if SCOPES else Depends(held)
    app.include_router(realtime_router(realtime, [PIPELINE], dependencies=[session]), prefix="/api/realtime")

    @app.get("/runs/{region}/{run_no}/token")
    async def token(token: Annotated[ClientSubscriptionToken, token_dependency]) -> dict[str, str]:
        return token.to_dict()

    @app.get("/token")
    async def token_by_query(token: Annotated[ClientSubscriptionToken, token_dependency], page: int) -> Any:
        return token.to_dict()

    @app.get("/runs/{region}/{run_no}/stream")
    async def stream(
        stream: Annotated[Subscription, stream_dependency], session: Annotated[object, session]
    ) -> RealtimeStreamingResponse:
        return RealtimeStreamingResponse(stream, heartbeat=0.1)

    if sse is not None:

        @app.get("/runs/{region}/{run_no}/events", response_class=sse.EventSourceResponse)
        async def events(
            stream: Annotated[Subscription, stream_dependency], session: Annotated[object, session]
        ) -> AsyncIterator[sse.ServerSentEvent]:
            async for message in stream:
                yield server_sent_event(message)

    @app.get("/runs/{region}/{run_no}/failing")
    async def failing(stream: Annotated[Subscription, stream_dependency]) -> None:
        raise HTTPException(409, "Changed its mind.")

    return app


async def test_a_token_dependency(realtime: Realtime, run_no: int) -> None:
    with serving(application(realtime, Held())) as url:
        async with Client(url) as client:
            by_path = await client.http.get(f"/runs/eu/{run_no}/token?page=3", headers=MEMBER)
            by_query = await client.http.get(f"/token?region=eu&runNo={run_no}&page=3", headers=MEMBER)
    for response in (by_path, by_query):
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        claims = ClientSubscriptionToken(response.json()["key"], "").read_claims_unverified()
        assert [(claim.channel, claim.name) for claim in claims.topics] == [
            (f"pipeline:eu:{run_no}", "status"),
            (f"pipeline:eu:{run_no}", "tokens"),
        ]


async def test_a_dependency_refuses_with_http_exceptions(realtime: Realtime, inngest: DevServer, run_no: int) -> None:
    with serving(application(realtime, Held())) as url:
        async with Client(url) as client:
            for endpoint in ("token", "stream"):
                nobody = await client.http.get(f"/runs/eu/{run_no}/{endpoint}")
                assert (nobody.status_code, nobody.json()) == (401, {"detail": "Who are you?"})
                denied = await client.http.get(f"/runs/eu/{run_no}/{endpoint}", headers={"x-user": "other"})
                assert (denied.status_code, denied.json()["detail"]["code"]) == (403, "forbidden")
                wrong = await client.http.get(f"/runs/eu/one/{endpoint}", headers=MEMBER)
                assert (wrong.status_code, wrong.json()["detail"]["parameter"]) == (422, "runNo")
                inngest.reject_tokens(401)
                refused = await client.http.get(f"/runs/eu/{run_no}{len(endpoint)}/{endpoint}", headers=MEMBER)
                inngest.reject_tokens(None)
                assert (refused.status_code, refused.json()["detail"]["code"]) == (502, "inngest_refused")
                assert refused.headers["cache-control"] == "no-store"


async def test_path_operations_that_are_not_async_stream(realtime: Realtime, run_no: int) -> None:
    app = FastAPI()
    stream_dependency = Depends(subscription_stream(realtime, Grant(Pipeline, authorize=allow_anyone)))

    @app.get("/encoded")
    def encoded(stream: Annotated[Subscription, stream_dependency]) -> StreamingResponse:
        return StreamingResponse(stream.get_encoded_stream(), media_type="text/event-stream")

    @app.get("/events")
    def events(stream: Annotated[Subscription, stream_dependency]) -> StreamingResponse:
        return StreamingResponse(stream.get_event_stream(), media_type="text/event-stream")

    pipeline = Pipeline(region=Region.EU, run_no=run_no)
    with serving(app) as url:
        async with Client(url) as client:
            for path in ("/encoded", "/events"):
                async with client.http.stream("GET", f"{path}?region=eu&runNo={run_no}") as response:
                    assert response.status_code == 200
                    await realtime.publish(pipeline.status, {"message": path})
                    stream = EventStream(response)
                    while (event := await stream.next_event()).event == "ready":
                        pass
                    assert event.json["data"] == {"message": path}


STREAMS = ["/runs/eu/{}/stream", "/api/realtime/pipeline/stream?region=eu&runNo={}"]
if sse is not None:
    STREAMS.append("/runs/eu/{}/events")


@pytest.mark.parametrize("path", STREAMS)
async def test_an_open_stream_holds_nothing_else(
    realtime: Realtime, inngest: DevServer, run_no: int, path: str
) -> None:
    held = Held()
    with serving(application(realtime, held)) as url:
        async with Client(url) as client:
            async with client.http.stream("GET", path.format(run_no), headers=MEMBER) as response:
                assert response.status_code == 200
                await inngest.publish(f"pipeline:eu:{run_no}", "status", "on its way")
                async for line in response.aiter_lines():
                    if line.startswith("data:") and '"ready"' not in line:
                        assert '"data":"on its way"' in line
                        break
                assert realtime.stats().subscriptions == 1
                assert (held.open, held.opened) == (1 if PINNED else 0, 1)
            await until_free(realtime)


if sse is not None:

    async def test_a_gap_is_an_event_of_its_own(realtime: Realtime, inngest: DevServer, run_no: int) -> None:
        lines: list[str] = []
        with serving(application(realtime, Held())) as url:
            async with (
                Client(url) as client,
                client.http.stream("GET", f"/runs/eu/{run_no}/events", headers=MEMBER) as response,
            ):
                inngest.drop_connections(f"pipeline:eu:{run_no}")
                async for line in response.aiter_lines():
                    lines.append(line)
                    if line.startswith("data:") and '"ready"' not in line:
                        break
        assert "event: gap" in lines
        assert '"reason":"reconnect"' in lines[-1]
        await until_free(realtime)

    async def test_events_of_fastapi_have_ids_and_resume(inngest: DevServer, run_no: int) -> None:
        # The channel lingers: else it would be left with the first client, and what it had with it.
        realtime = Realtime(api_base_url=inngest.url, linger=30)
        channel = f"pipeline:eu:{run_no}"

        async def read(client: Client, count: int, event_id: str | None = None) -> list[tuple[str, Any]]:
            headers = MEMBER if event_id is None else {**MEMBER, "Last-Event-ID": event_id}
            events: list[tuple[str, Any]] = []
            async with client.http.stream("GET", f"/runs/eu/{run_no}/events", headers=headers) as response:
                fields: dict[str, str] = {}
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name:
                        fields[name] = value
                    elif "data" in fields:
                        events.append((fields["id"], json.loads(fields["data"])["data"]))
                        fields = {}
                        if len(events) == count:
                            break
            return events

        published = 0

        async def publish(upto: int) -> None:
            nonlocal published
            while published < upto:
                await inngest.publish(channel, "status", published)
                published += 1

        with serving(application(realtime, Held())) as url:
            async with Client(url) as client:
                reading = asyncio.create_task(read(client, 2))
                deadline = time.monotonic() + 5
                while not reading.done() and time.monotonic() < deadline:
                    if realtime.stats().streams:
                        await publish(2)
                    await asyncio.sleep(0.005)
                first = await reading
                assert [data for _, data in first] == [0, 1]
                await publish(5)  # while the client is away
                again = await read(client, 4, first[0][0])
                assert [data for _, data in again] == [1, 2, 3, 4]
                assert [data for _, data in await read(client, 1, again[2][0])] == [4]
            await until_free(realtime)
            await realtime.close()


async def test_an_older_fastapi_has_no_events_to_yield(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_realtime_fastapi.responses.ServerSentEvent", None)
    with pytest.raises(ConfigurationError, match=r"0\.135"):
        server_sent_event(Message.gap("channel", "reconnect"))


async def test_a_stream_that_is_not_used_is_freed(realtime: Realtime, run_no: int) -> None:
    with serving(application(realtime, Held())) as url:
        async with Client(url) as client:
            assert (await client.http.get(f"/runs/eu/{run_no}/failing", headers=MEMBER)).status_code == 409
        await until_free(realtime)


def test_a_grant_that_asks_again_is_not_for_own_routes() -> None:
    with pytest.raises(ConfigurationError, match="reauthorize_every"):
        subscription_stream(Realtime(), Grant(Pipeline, authorize=may_view, reauthorize_every=60))


@pytest.mark.parametrize("helper", [subscription_stream, subscription_token])
async def test_a_websocket_route_is_told_what_to_write(realtime: Realtime, helper: Any) -> None:
    app = FastAPI()

    @app.websocket("/{region}/{run_no}")
    async def relay(websocket: WebSocket, found: Annotated[Any, Depends(helper(realtime, PIPELINE))]) -> None: ...

    async def receive() -> Any: ...

    async def send(_: Any) -> None: ...

    scope = {"type": "websocket", "path": "/eu/1", "headers": [], "query_string": b"", "asgi": {"version": "3.0"}}
    with pytest.raises(ConfigurationError, match=r"write `async with realtime\.subscribe"):
        await app(scope, receive, send)
