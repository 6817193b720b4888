"""Metrics and spans, as an application's own OpenTelemetry receives them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from inngest_realtime_core import Grant, Health, PublishError, Realtime, UnexpectedResponseError, __version__
from inngest_realtime_core.endpoints.answers import StreamAnswer
from inngest_realtime_core.endpoints.endpoints import Endpoints
from inngest_realtime_core.endpoints.request import EndpointRequest
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_otel import instrument
from talk import Pipeline, eventually, receive

STATES = {
    "inngest.realtime.connections": "{connection}",
    "inngest.realtime.subscriptions": "{subscription}",
    "inngest.realtime.channels": "{channel}",
    "inngest.realtime.streams": "{stream}",
    "inngest.realtime.buffer.size": "By",
    "inngest.realtime.window.size": "By",
}
DURATIONS = ("publish", "token", "subscribe")


class Watch:
    """An application's OpenTelemetry, in memory."""

    def __init__(self, realtime: Realtime) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.instrumentation = instrument(
            realtime, name="shop", meter_provider=self.meters, tracer_provider=self.tracers
        )

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def value(self, name: str, **labels: str) -> Any:
        wanted = {"inngest.realtime.name": "shop", **labels}
        (point,) = [point for point in self.metrics()[name].data.data_points if dict(point.attributes) == wanted]
        return point

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def watch(realtime: Realtime) -> Iterator[Watch]:
    watch = Watch(realtime)
    yield watch
    watch.instrumentation.uninstrument()
    watch.meters.shutdown()
    watch.tracers.shutdown()


async def test_metrics(server: DevServer, realtime: Realtime, watch: Watch, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as stream:
        for number in range(3):
            await realtime.publish((channel, "t"), number)
        assert await receive(stream, 3) == [0, 1, 2]
        await realtime.get_client_subscription_token(channel=channel, topics=["t"])
        metrics = watch.metrics()
        for name, unit in STATES.items():
            assert metrics[name].unit == unit
            assert metrics[name].description
        assert watch.value("inngest.realtime.connections").value == 1
        assert watch.value("inngest.realtime.subscriptions").value == 1
        for name in ("received", "delivered"):
            assert watch.value(f"inngest.realtime.messages.{name}").value == 3
        assert watch.value("inngest.realtime.healthy").value == 1
        assert 0 <= watch.value("inngest.realtime.connection.age").value < 60
        for name, count in zip(DURATIONS, (3, 1, 1), strict=True):
            metric = metrics[f"inngest.realtime.{name}.duration"]
            assert metric.unit == "s"
            assert watch.value(f"inngest.realtime.{name}.duration").count == count
    watch.instrumentation.uninstrument()
    assert watch.metrics().get("inngest.realtime.connections") is None


async def test_what_failed_is_seen_though_nobody_is_subscribed(
    server: DevServer, realtime: Realtime, watch: Watch, channel: str
) -> None:
    server.reject_tokens(500)
    with pytest.raises(UnexpectedResponseError):
        await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    assert watch.value("inngest.realtime.healthy").value == 0
    assert watch.value("inngest.realtime.token.duration", **{"error.type": "UnexpectedResponseError"}).count == 1
    stats = realtime.stats()
    assert (stats.token_requests, stats.token_errors) == (1, 1)
    assert stats.last_error is not None
    assert "500" in stats.last_error
    assert stats.last_error_age is not None
    health = realtime.health()
    assert not health.ok
    assert "500" in health.reason
    server.reject_tokens(None)
    await realtime.publish((channel, "t"), 1)
    assert realtime.health().ok
    assert realtime.stats().last_error == stats.last_error
    with pytest.raises(PublishError):
        await realtime.publish((channel, "t"), float("nan"))
    # That was the caller's mistake.
    assert realtime.health().ok
    assert (realtime.stats().publishes, realtime.stats().publish_errors) == (2, 1)


@pytest.mark.parametrize(
    ("failed", "succeeded", "ok"), [(299.0, None, False), (301.0, None, True), (299.0, 300.0, False), (2.0, 1.0, True)]
)
async def test_one_failure_does_not_count_for_ever(
    failed: float, succeeded: float | None, ok: bool, server: DevServer, realtime: Realtime, channel: str
) -> None:
    """A probe would else report an hour of trouble where nobody has asked for anything since."""
    server.reject_tokens(500)
    with pytest.raises(UnexpectedResponseError):
        await realtime.get_client_subscription_token(channel=channel, topics=["t"])
    stats = msgspec.structs.replace(realtime.stats(), last_error_age=failed, last_success_age=succeeded)
    health = Health.of(stats, shutting_down=False)
    assert health.ok is ok
    assert bool(health.reason) is not ok


async def test_a_lost_connection_is_no_health(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]):
        server.reject_tokens(503)
        server.drop_connections()
        await eventually(lambda: not realtime.health().ok)
        server.reject_tokens(None)
        await eventually(lambda: realtime.health().ok)
    realtime.begin_shutdown()
    assert not realtime.health().ok
    assert "shutting down" in realtime.health().reason


async def test_spans_end_when_what_they_tell_of_ends(realtime: Realtime, watch: Watch, channel: str) -> None:
    tracer = watch.tracers.get_tracer("application")
    with tracer.start_as_current_span("request") as request:
        async with realtime.subscribe(channel=channel, topics=["t"]) as stream:
            (subscribed,) = watch.spans()
            await realtime.publish((channel, "t"), 1)
            assert await receive(stream, 1) == [1]
            assert [span.name for span in watch.spans()] == ["inngest.realtime subscribe", "inngest.realtime publish"]
    published = watch.spans()[1]
    for span, kind in ((subscribed, SpanKind.CLIENT), (published, SpanKind.PRODUCER)):
        assert span.kind is kind
        assert span.end_time is not None
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id
        assert span.attributes["messaging.system"] == "inngest"
        assert span.attributes["messaging.destination.name"] == channel
        assert span.status.status_code is StatusCode.UNSET
    assert published.attributes["inngest.realtime.topic"] == "t"
    assert published.attributes["messaging.operation.type"] == "send"
    assert "messaging.operation.type" not in subscribed.attributes
    assert published.instrumentation_scope is not None
    assert published.instrumentation_scope.version == __version__


def test_spans_of_sync_calls_belong_to_the_caller() -> None:
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url, linger=0)
        watch = Watch(realtime)
        with watch.tracers.get_tracer("application").start_as_current_span("request") as request:
            realtime.publish_sync(("c", "t"), 1)
            with realtime.subscribe_sync(channel="c", topics=["t"]):
                pass
            realtime.get_client_subscription_token_sync(channel="c", topics=["t"])
        spans = {span.name: span for span in watch.spans() if span.name.startswith("inngest")}
        assert len(spans) == 3
        for span in spans.values():
            assert span.parent is not None
            assert span.parent.span_id == request.get_span_context().span_id
        realtime.close_sync()
        watch.meters.shutdown()


async def test_a_span_of_what_fails_says_why_and_one_of_what_is_cancelled_ends(
    server: DevServer, realtime: Realtime, watch: Watch, channel: str
) -> None:
    server.reject_publishes(500)
    with pytest.raises(UnexpectedResponseError):
        await realtime.publish((channel, "t"), 1)
    (span,) = watch.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "UnexpectedResponseError"
    assert "500" in (span.status.description or "")
    opening = asyncio.ensure_future(realtime.subscribe(channel=channel, topics=["t"]).__aenter__())
    await eventually(lambda: server.stats().token_requests == 1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    cancelled = watch.spans()[-1]
    assert cancelled.attributes["error.type"] == "CancelledError"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert realtime.stats().subscribe_errors == 0


def test_the_core_does_not_import_opentelemetry() -> None:
    code = "import sys, inngest_realtime_core; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import inngest_realtime_otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert 'pip install "inngest-realtime[otel]"' in done.stderr.splitlines()[-1]


async def test_the_times_of_publishing_and_of_first_bytes_are_in_stats(realtime: Realtime, channel: str) -> None:
    stats = realtime.stats()
    assert (stats.publish_p50, stats.publish_max, stats.first_byte_p50, stats.first_byte_max) == (None,) * 4
    for number in range(3):
        await realtime.publish((channel, "t"), number)
    with pytest.raises(PublishError):
        await realtime.publish((channel, "t"), float("nan"))
    assert realtime.stats().first_byte_p50 is None

    async def authorize(request: object, channel: Pipeline) -> bool:
        await asyncio.sleep(0.05)
        return True

    endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=authorize)])
    answer = await endpoints.stream("pipeline", EndpointRequest("GET", "runId=timed", {}, None))
    assert isinstance(answer, StreamAnswer)
    await answer.body.aclose()
    stats = realtime.stats()
    assert stats.publish_p50 is not None
    assert stats.publish_max is not None
    assert 0 < stats.publish_p50 <= stats.publish_max < 5
    assert stats.first_byte_p50 == stats.first_byte_max
    assert stats.first_byte_p50 is not None
    assert 0.05 <= stats.first_byte_p50 < 5


async def test_what_clients_get_no_stream_and_no_token_for(
    server: DevServer, realtime: Realtime, watch: Watch, pipeline: Pipeline
) -> None:
    endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=lambda request, channel: channel == pipeline)])

    def request(query: str) -> EndpointRequest:
        return EndpointRequest(native=None, method="GET", query=query, headers={})

    query = f"runId={pipeline.run_id}"
    stream = await endpoints.stream("pipeline", request(query))
    assert isinstance(stream, StreamAnswer)
    assert realtime.stats().streams == 1
    assert (realtime.stats().endpoint_streams, realtime.stats().max_streams) == (1, 10_000)
    assert watch.value("inngest.realtime.endpoint.streams.limit").value == 10_000
    await stream.body.aclose()
    await eventually(lambda: realtime.stats().streams == 0)
    assert realtime.stats().resumes == 0
    back = await endpoints.stream("pipeline", request(f"{query}&lastEventId=a.b"))
    assert isinstance(back, StreamAnswer)
    assert (realtime.stats().resumes, realtime.stats().resumes_gapped) == (1, 1)
    await back.body.aclose()
    for name, asked in (("nope", query), ("pipeline", "runId=other"), ("pipeline", "runId=other")):
        assert (await endpoints.stream(name, request(asked))).status in (403, 404)
        assert (await endpoints.token(name, request(asked))).status in (403, 404)
    assert realtime.stats().endpoint_errors == {"unknown_grant": 2, "forbidden": 4}
    # One look at the numbers serves a while.
    await eventually(lambda: "inngest.realtime.endpoint.errors" in watch.metrics())
    assert watch.value("inngest.realtime.endpoint.errors", code="forbidden").value == 4
    assert watch.value("inngest.realtime.stream.time_to_first_byte").count == 2
    assert watch.metrics()["inngest.realtime.stream.time_to_first_byte"].unit == "s"
    # That is no failure of Inngest.
    assert realtime.health().ok


async def test_gaps_by_their_reason(server: DevServer, watch: Watch, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0, buffer_size=2) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as stream:
            await server.publish(channel, "t", "first")
            assert await receive(stream, 1) == ["first"]
            for number in range(5):
                await server.publish(channel, "t", number)
            await eventually(lambda: realtime.stats().dropped == 3)
            assert (await receive(stream, 1))[0].reason == "overflow"
            server.drop_connections()
            await receive(stream, 3)
        assert realtime.stats().gaps_by_reason == {"overflow": 1, "reconnect": 1}
        assert realtime.stats().gaps == 2
