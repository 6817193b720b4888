"""What the conformance suite cannot see from outside: both faces, slots, reauthorization, clean-up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import gc
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints import (
    Answer,
    EndpointOptions,
    EndpointRequest,
    Endpoints,
    Grant,
    StreamAnswer,
    SyncStreamAnswer,
    allow_anyone,
)
from inngest_realtime_core.endpoints import authorize as authorizing
from inngest_realtime_core.endpoints.authorize import Host
from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer
from talk import soon


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Any)


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
async def realtime(inngest: DevServer) -> AsyncIterator[Realtime]:
    async with Realtime(api_base_url=inngest.url, linger=0) as realtime:
        yield realtime


@pytest.fixture
def sync_realtime(inngest: DevServer) -> Iterator[Realtime]:
    realtime = Realtime(api_base_url=inngest.url, linger=0)
    yield realtime
    realtime.close_sync()


@pytest.fixture
def parameters() -> list[tuple[str, str]]:
    return [("runId", uuid.uuid4().hex)]


def endpoints_for(realtime: Realtime, authorize: Any = allow_anyone, **options: Any) -> Endpoints:
    reauthorize_every = options.pop("reauthorize_every", None)
    grant = Grant(Pipeline, authorize=authorize, reauthorize_every=reauthorize_every)
    return Endpoints(realtime, [grant], EndpointOptions(**options))


def asked(parameters: list[tuple[str, str]], native: object = None, **options: Any) -> EndpointRequest:
    """A request for these parameters."""
    values = {"method": "GET", "query": urlencode(parameters), "headers": {}, "native": native}
    return EndpointRequest(**values | options)


async def opened(endpoints: Endpoints, parameters: list[tuple[str, str]], request: object = None) -> StreamAnswer:
    answer = await endpoints.stream("pipeline", asked(parameters, request))
    assert isinstance(answer, StreamAnswer)
    return answer


def opened_sync(endpoints: Endpoints, parameters: list[tuple[str, str]], request: object = None) -> SyncStreamAnswer:
    answer = endpoints.stream_sync("pipeline", asked(parameters, request))
    assert isinstance(answer, SyncStreamAnswer)
    return answer


async def until_free(realtime: Realtime) -> None:
    deadline = time.monotonic() + 5
    while realtime.stats().subscriptions:
        assert time.monotonic() < deadline, realtime.stats()
        await asyncio.sleep(0.005)


def code_of(answer: object) -> str:
    assert isinstance(answer, Answer)
    return json.loads(answer.body)["error"]["code"]


# Declaring


def test_names_must_differ() -> None:
    grant = Grant(Pipeline, authorize=allow_anyone)
    with pytest.raises(ConfigurationError, match="same name"):
        Endpoints(Realtime(), [grant, Grant(Pipeline, authorize=allow_anyone)])


@pytest.mark.parametrize("options", [{"heartbeat": 0}, {"max_streams": 0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Endpoints(Realtime(), [], EndpointOptions(**options))


# Who may


class AsyncCallable:
    async def __call__(self, request: object, channel: object) -> bool:
        return request == "friend"


async def async_authorize(request: object, channel: object) -> bool:
    return request == "friend"


def sync_authorize(request: object, channel: object) -> bool:
    return request == "friend"


def with_prefix(prefix: str, request: str, channel: object) -> bool:
    return prefix + request == "a friend"


async def with_prefix_async(prefix: str, request: str, channel: object) -> bool:
    return prefix + request == "a friend"


AUTHORIZES = [
    sync_authorize,
    async_authorize,
    AsyncCallable(),
    lambda request, channel: async_authorize(request, channel),
    functools.partial(with_prefix, "a "),
    functools.partial(with_prefix_async, "a "),
]


@pytest.mark.parametrize("authorize", AUTHORIZES)
async def test_any_callable_may_authorize(realtime: Realtime, parameters: Any, authorize: Any) -> None:
    endpoints = endpoints_for(realtime, authorize)
    assert (await endpoints.token("pipeline", asked(parameters, "friend"))).status == 200
    assert code_of(await endpoints.token("pipeline", asked(parameters, "enemy"))) == "forbidden"


@pytest.mark.parametrize("authorize", AUTHORIZES)
def test_any_callable_may_authorize_in_threads(sync_realtime: Realtime, parameters: Any, authorize: Any) -> None:
    endpoints = endpoints_for(sync_realtime, authorize)
    assert endpoints.token_sync("pipeline", asked(parameters, "friend")).status == 200
    assert code_of(endpoints.token_sync("pipeline", asked(parameters, "enemy"))) == "forbidden"


@pytest.mark.parametrize("verdict", [None, False, 1, "yes", object()])
async def test_only_true_allows(realtime: Realtime, parameters: Any, verdict: object) -> None:
    answer = await endpoints_for(realtime, lambda request, channel: verdict).token("pipeline", asked(parameters))
    assert code_of(answer) == "forbidden"


async def test_a_sync_authorize_does_not_block_the_loop(realtime: Realtime, parameters: Any) -> None:
    threads: list[int] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def authorize(request: object, channel: Pipeline) -> bool:
        threads.append(threading.get_ident())
        return variable.get() == "set"

    variable.set("set")
    assert (await endpoints_for(realtime, authorize).token("pipeline", asked(parameters))).status == 200
    assert threads != [threading.get_ident()]


async def test_authorize_sees_the_request_and_the_channel(realtime: Realtime) -> None:
    seen: list[object] = []

    def authorize(request: object, channel: Pipeline) -> bool:
        seen.append((request, channel))
        return True

    request = object()
    await endpoints_for(realtime, authorize).token("pipeline", asked([("runId", "abc")], request))
    assert seen == [(request, Pipeline(run_id="abc"))]


async def test_what_authorize_raises_is_not_caught(realtime: Realtime, inngest: DevServer, parameters: Any) -> None:
    def authorize(request: object, channel: Pipeline) -> bool:
        raise LookupError("the framework's own")

    before = inngest.stats().token_requests
    endpoints = endpoints_for(realtime, authorize)
    with pytest.raises(LookupError):
        await endpoints.token("pipeline", asked(parameters))
    with pytest.raises(LookupError):
        await endpoints.stream("pipeline", asked(parameters))
    with pytest.raises(LookupError):
        endpoints.token_sync("pipeline", asked(parameters))
    with pytest.raises(LookupError):
        endpoints.stream_sync("pipeline", asked(parameters))
    assert inngest.stats().token_requests == before


# Slots


async def test_a_slot_is_free_again_however_a_stream_ends(realtime: Realtime, parameters: Any) -> None:
    endpoints = endpoints_for(realtime, max_streams=1)
    closed = await opened(endpoints, parameters)
    assert code_of(await endpoints.stream("pipeline", asked(parameters))) == "too_many_streams"
    await closed.body.aclose()  # never read

    read = await opened(endpoints, parameters)
    assert b"retry:" in await anext(read.body)
    await read.body.aclose()

    dropped = await opened(endpoints, parameters)
    del dropped
    gc.collect()
    await until_free(realtime)
    await (await opened(endpoints, parameters)).body.aclose()
    await until_free(realtime)


def test_a_slot_is_free_again_however_a_sync_stream_ends(sync_realtime: Realtime, parameters: Any) -> None:
    endpoints = endpoints_for(sync_realtime, max_streams=1)
    closed = opened_sync(endpoints, parameters)
    assert code_of(endpoints.stream_sync("pipeline", asked(parameters))) == "too_many_streams"
    closed.body.close()  # never read

    read = opened_sync(endpoints, parameters)
    assert b"retry:" in next(read.body)
    read.body.close()

    dropped = opened_sync(endpoints, parameters)
    del dropped
    gc.collect()
    opened_sync(endpoints, parameters).body.close()
    asyncio.run(until_free(sync_realtime))


async def test_a_failed_stream_takes_no_slot(realtime: Realtime, inngest: DevServer, parameters: Any) -> None:
    endpoints = endpoints_for(realtime, max_streams=1)
    inngest.reject_tokens(401)
    try:
        for _ in range(3):
            assert code_of(await endpoints.stream("pipeline", asked(parameters))) == "inngest_refused"
    finally:
        inngest.reject_tokens(None)
    await (await opened(endpoints, parameters)).body.aclose()


async def test_a_refused_connection_is_told(realtime: Realtime, inngest: DevServer, parameters: Any) -> None:
    inngest.reject_connects(401)
    try:
        assert code_of(await endpoints_for(realtime).stream("pipeline", asked(parameters))) == "inngest_refused"
    finally:
        inngest.reject_connects(None)


async def test_a_stranger_is_told_so_even_when_all_slots_are_taken(realtime: Realtime, parameters: Any) -> None:
    endpoints = endpoints_for(realtime, sync_authorize, max_streams=1)
    stream = await opened(endpoints, parameters, "friend")
    assert code_of(await endpoints.stream("pipeline", asked(parameters, "enemy"))) == "forbidden"
    await stream.body.aclose()


# Streams


async def test_an_empty_chunk_is_never_sent(realtime: Realtime, inngest: DevServer, parameters: Any) -> None:
    stream = await opened(endpoints_for(realtime), parameters)
    await inngest.publish(f"pipeline:{parameters[0][1]}", "status", 1)
    chunks = [await anext(stream.body) for _ in range(2)]
    assert all(chunks)
    assert b'"data":1' in chunks[1]
    await stream.body.aclose()


@pytest.mark.parametrize("ending", [False, None, PermissionError("revoked")], ids=repr)
async def test_a_reauthorization_ends_the_stream(realtime: Realtime, parameters: Any, ending: Any) -> None:
    verdicts = iter([True, True, ending])

    def authorize(request: object, channel: Pipeline) -> Any:
        verdict = next(verdicts)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    stream = await opened(endpoints_for(realtime, authorize, reauthorize_every=0.05), parameters)
    async for _ in stream.body:
        pass
    assert next(verdicts, "asked thrice") == "asked thrice"
    await until_free(realtime)


@pytest.mark.parametrize("ending", [False, None, PermissionError], ids=repr)
@pytest.mark.parametrize("authorize_async", [False, True])
def test_a_reauthorization_ends_a_sync_stream(
    sync_realtime: Realtime, parameters: Any, authorize_async: bool, ending: Any
) -> None:
    verdicts = iter([True, True, ending])

    def now(request: object, channel: Pipeline) -> Any:
        verdict = next(verdicts)
        if verdict is PermissionError:
            raise PermissionError("revoked")  # not one that is kept: it would keep all that was under way
        return verdict

    async def later(request: object, channel: Pipeline) -> Any:
        return now(request, channel)

    authorize = later if authorize_async else now
    stream = opened_sync(endpoints_for(sync_realtime, authorize, reauthorize_every=0.05), parameters)
    for _ in stream.body:
        pass
    assert next(verdicts, "asked thrice") == "asked thrice"


class Rejected(Exception):
    """What a framework refuses a request with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@pytest.mark.parametrize(("status", "last"), [(403, "end"), (401, "end"), (500, "closing"), (503, "closing")])
@pytest.mark.parametrize("sync", [False, True])
async def test_a_reauthorization_that_fails_does_not_forbid(
    realtime: Realtime, sync_realtime: Realtime, status: int, last: str, sync: bool
) -> None:
    """The exceptions of a framework say which it is. Who is not refused comes back, and is asked then."""

    def refuses(error: Exception) -> EndpointError | None:
        return EndpointError.refused(error.status, None) if isinstance(error, Rejected) else None

    asked_for: list[None] = []

    def authorize(request: object, channel: Pipeline) -> bool:
        asked_for.append(None)
        if len(asked_for) > 1:
            raise Rejected(status)
        return True

    grants = [Grant(Pipeline, authorize=authorize, reauthorize_every=0.02)]
    endpoints = Endpoints(sync_realtime if sync else realtime, grants, host=Host(endpoint_error=refuses))
    if sync:
        stream = await asyncio.to_thread(opened_sync, endpoints, parameters_of_a_run())
        body = b"".join(await asyncio.to_thread(list, stream.body))
    else:
        answer = await opened(endpoints, parameters_of_a_run())
        body = b"".join([chunk async for chunk in answer.body])
    assert body.split(b"\n\n")[-2].split(b"event: ")[1].startswith(last.encode())


def test_a_sync_stream_is_reauthorized_although_it_is_never_silent(
    sync_realtime: Realtime, inngest: DevServer, parameters: Any
) -> None:
    verdicts = iter([True, True, False])
    endpoints = endpoints_for(sync_realtime, lambda request, channel: next(verdicts), reauthorize_every=0.05)
    stream = opened_sync(endpoints, parameters)
    until = time.monotonic() + 5
    for number, _ in enumerate(stream.body, 1):
        assert time.monotonic() < until
        inngest.publish_sync(f"pipeline:{parameters[0][1]}", "status", number)
        while sync_realtime.stats().received < number:  # so the stream finds something whenever it looks
            assert time.monotonic() < until
    assert next(verdicts, "asked thrice") == "asked thrice"


async def test_shutting_down_refuses_streams_and_ends_open_ones(realtime: Realtime, parameters: Any) -> None:
    endpoints = endpoints_for(realtime)
    stream = await opened(endpoints, parameters)
    realtime.begin_shutdown()
    chunks = [chunk async for chunk in stream.body]
    assert b"retry:" in chunks[-1]
    answer = await endpoints.stream("pipeline", asked(parameters))
    assert code_of(answer) == "shutting_down"
    assert answer.headers["Retry-After"] == "1"


async def test_a_missing_signing_key_is_a_500(
    parameters: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests that use the plugin's fixtures may be in the same run, and it refuses this address before.
    monkeypatch.setattr("inngest_realtime_core.settings.address_checks", [])
    realtime = Realtime(api_base_url="https://api.inngest.com")
    answer = await endpoints_for(realtime).token("pipeline", asked(parameters))
    assert (answer.status, code_of(answer)) == (500, "misconfigured")
    assert "INNGEST_SIGNING_KEY" in caplog.text
    assert b"INNGEST" not in answer.body
    await realtime.close()


async def test_an_answer_does_not_show_its_token(realtime: Realtime, parameters: Any) -> None:
    answer = await endpoints_for(realtime).token("pipeline", asked(parameters))
    assert json.loads(answer.body)["key"] not in repr(answer)


async def test_an_authorize_that_hangs_is_answered_and_its_threads_are_counted(realtime: Realtime) -> None:
    go_on = threading.Event()
    calls: list[None] = []

    def hangs(request: object, channel: Pipeline) -> bool:
        calls.append(None)
        return go_on.wait(20)

    endpoints = endpoints_for(realtime, hangs, authorize_timeout=0.02)
    try:
        for _ in range(20):
            answer = await endpoints.token("pipeline", asked(parameters_of_a_run()))
            assert (answer.status, code_of(answer)) == (503, "authorize_timeout")
        # Those beyond the limit were not asked in yet another thread.
        assert len(calls) <= 16
    finally:
        go_on.set()


async def test_clients_that_leave_while_they_are_authorized_keep_nobody_else_out(realtime: Realtime) -> None:
    """Where a framework cancels a request whose client has left, its call goes on, but that is none that hangs."""
    go_on = threading.Event()
    endpoints = endpoints_for(realtime, lambda request, channel: go_on.wait(20))
    try:
        leaving = [asyncio.create_task(endpoints.token("pipeline", asked(parameters_of_a_run()))) for _ in range(20)]
        await asyncio.wait(leaving, timeout=0.01)
        for task in leaving:
            task.cancel()
        await asyncio.wait(leaving)
        staying = asyncio.create_task(endpoints.token("pipeline", asked(parameters_of_a_run())))
        await asyncio.wait([staying], timeout=0.01)
        go_on.set()
        assert (await soon(staying)).status == 200
    finally:
        go_on.set()


@pytest.mark.parametrize("hangs", [True, False])
async def test_streams_that_authorize_fails_in_the_middle_share_a_line(
    realtime: Realtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """A database that is away or slow fails every open stream."""
    monkeypatch.setattr(authorizing, "_log", ThrottledLog(authorizing.logger))
    asked_for: set[object] = set()

    async def authorize(request: object, channel: Pipeline) -> bool:
        if request not in asked_for:
            asked_for.add(request)
            return True
        if hangs:
            await asyncio.Event().wait()
        raise ConnectionError("no database")

    endpoints = endpoints_for(realtime, authorize, reauthorize_every=0.02, authorize_timeout=0.05)
    started = time.monotonic()
    streams = [await opened(endpoints, parameters_of_a_run(), number) for number in range(12)]
    for stream in streams:
        # Nobody has refused: whoever comes back is asked then.
        assert b"".join([chunk async for chunk in stream.body]).endswith(
            b'event: closing\ndata: {"kind":"closing"}\n\n'
        )
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 1 + (time.monotonic() - started) // 10
    assert all(record.exc_info is None for record in warnings)
    assert ("longer than 0.05 s" if hangs else "ConnectionError") in warnings[0].getMessage()


async def test_an_async_authorize_that_hangs_is_cancelled(realtime: Realtime) -> None:
    ended: list[str] = []

    async def hangs(request: object, channel: Pipeline) -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return True

    answer = await endpoints_for(realtime, hangs, authorize_timeout=0.02).token(
        "pipeline", asked(parameters_of_a_run())
    )
    assert (answer.status, code_of(answer)) == (503, "authorize_timeout")
    assert ended == ["cancelled"]


def parameters_of_a_run() -> list[tuple[str, str]]:
    return [("runId", uuid.uuid4().hex)]


# Routes of one's own


async def test_an_event_stream_of_ones_own_resumes_where_the_request_says(
    inngest: DevServer, realtime: Realtime, sync_realtime: Realtime, parameters: list[tuple[str, str]]
) -> None:
    """Also one that the route makes itself, which knows nothing of the request."""
    channel = Pipeline(run_id=parameters[0][1])

    def route(last_event_id: str | None) -> EndpointRequest:
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        return asked(parameters, headers=headers, route={})

    async def read(last_event_id: str | None) -> list[bytes]:
        subscription = await endpoints_for(realtime).subscribe("pipeline", route(last_event_id))
        stream = subscription.get_event_stream()
        ready = await anext(stream)
        await realtime.publish(channel.status, "live")
        events = [ready, await asyncio.wait_for(anext(stream), 5)]
        await stream.aclose()
        await subscription.close()
        return events

    def read_sync(last_event_id: str | None) -> list[bytes]:
        subscription = endpoints_for(sync_realtime).subscribe_sync("pipeline", route(last_event_id))
        with contextlib.closing(subscription.get_event_stream()) as stream:
            ready = next(stream)
            sync_realtime.publish_sync(channel.status, "live")
            events = [ready, next(stream)]
        subscription.close()
        return events

    async with realtime.subscribe(channel=channel), sync_as_well(sync_realtime, channel):
        _, first = await read(None)
        assert b'"live"' in first
        await realtime.publish(channel.status, "missed")
        assert b'"missed"' in (await read(id_of(first)))[1]
        _, first = await asyncio.to_thread(read_sync, None)
        await asyncio.to_thread(sync_realtime.publish_sync, channel.status, "missed")
        assert b'"missed"' in (await asyncio.to_thread(read_sync, id_of(first)))[1]


@contextlib.asynccontextmanager
async def sync_as_well(realtime: Realtime, channel: Pipeline) -> AsyncIterator[None]:
    subscription = await asyncio.to_thread(lambda: realtime.subscribe_sync(channel=channel))
    yield
    await asyncio.to_thread(subscription.close)


def id_of(event: bytes) -> str:
    return event.partition(b"id: ")[2].split(b"\n")[0].decode()


class Odd(BaseException):
    """What no application should raise."""


@pytest.mark.parametrize("odd", [Odd, SystemExit, asyncio.CancelledError, StopIteration])
async def test_authorize_may_raise_anything(
    realtime: Realtime, sync_realtime: Realtime, parameters: list[tuple[str, str]], odd: type[BaseException]
) -> None:
    """It is an exception that every framework answers with a 500, and ends no server."""

    def authorize(request: object, channel: object) -> bool:
        raise odd

    async def authorize_async(request: object, channel: object) -> bool:
        raise odd

    for function in (authorize, authorize_async):
        with pytest.raises(RuntimeError):
            await endpoints_for(realtime, function).token("pipeline", asked(parameters))
        with pytest.raises(RuntimeError):
            await asyncio.to_thread(endpoints_for(sync_realtime, function).token_sync, "pipeline", asked(parameters))


async def test_a_future_that_was_cancelled_cancels_no_request(
    realtime: Realtime, parameters: list[tuple[str, str]]
) -> None:
    """asyncio takes what waiting for one in a thread raises for a cancellation of its own."""

    def authorize(request: object, channel: object) -> bool:
        waited_for: concurrent.futures.Future[bool] = concurrent.futures.Future()
        waited_for.cancel()
        return waited_for.result()

    with pytest.raises(RuntimeError, match="CancelledError"):
        await endpoints_for(realtime, authorize).token("pipeline", asked(parameters))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_a_signal_in_authorize_stops_the_server(
    sync_realtime: Realtime, parameters: list[tuple[str, str]], interruption: type[BaseException]
) -> None:
    def authorize(request: object, channel: object) -> bool:
        raise interruption

    with pytest.raises(interruption):
        endpoints_for(sync_realtime, authorize).token_sync("pipeline", asked(parameters))
