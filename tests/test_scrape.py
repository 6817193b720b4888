"""What Prometheus sees of an application that runs: each number that an operator asks for, by the usual exporter."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inngest_realtime_core import __version__
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_devserver.testing import event_stream
from test_redis_replay import SERVER, RedisServer

APPLICATION = """
import sys
import uvicorn
from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import make_asgi_app

from inngest_realtime import Channel, Grant, Realtime, Replay, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router
from inngest_realtime_otel import instrument
from inngest_realtime_redis import RedisReplay

class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(str)

metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
realtime = Realtime(
    api_base_url=sys.argv[1], linger=0, replay=RedisReplay(sys.argv[2], namespace="n") if sys.argv[2:] else Replay()
)
instrument(realtime)
app = FastAPI()
app.include_router(realtime_router(realtime, [Grant(Pipeline, authorize=allow_anyone)]), prefix="/realtime")
app.mount("/metrics", make_asgi_app())

@app.post("/publish/{text}")
async def publish(text: str) -> None:
    await realtime.publish(Pipeline(run_id="r1").status, text)

uvicorn.run(app, port=0)
"""
STREAM = "/realtime/pipeline/stream"


@asynccontextmanager
async def application(folder: Path, *arguments: str) -> AsyncIterator[httpx.AsyncClient]:
    path = folder / "application.py"
    path.write_text(APPLICATION)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(path), *arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    try:
        address = ""
        while "running on " not in address:
            line = await asyncio.wait_for(process.stderr.readline(), 30)
            assert line, "it did not start"
            address = line.decode()
        url = address.partition("running on ")[2].split()[0]
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class Scrape:
    """What `/metrics/` says: each sample by its name, without the prefix, and its labels."""

    def __init__(self, text: str) -> None:
        self._values = {
            (sample.name.removeprefix("inngest_realtime_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        found = [
            value for (of, has), value in self._values.items() if of == name and labels.items() <= dict(has).items()
        ]
        return sum(found) if found else None


async def scraped(http: httpx.AsyncClient) -> Scrape:
    await asyncio.sleep(0.6)  # one look at the numbers serves for half a second
    return Scrape((await http.get("/metrics/")).text)


async def test_a_running_application_is_scraped(server: DevServer, tmp_path: Path) -> None:
    async with application(tmp_path, server.url) as http:
        query = {"runId": "r1"}
        async with event_stream(http, STREAM, params=query) as events:
            (ready,) = await events.receive()
            await http.post("/publish/first")
            assert [event.json()["data"] for event in await events.receive()] == ["first"]
            await server.publish("pipeline:r1", "status", "by another")
            await events.receive()
            assert (await http.get("/realtime/pipeline/token", params=query)).status_code == 200
            assert (await http.get("/realtime/nothing/token")).status_code == 404
            async with event_stream(http, STREAM, params=query, headers={"Last-Event-ID": ready.id or ""}) as back:
                assert [event.event for event in await back.receive(2)] == ["ready", "message"]
            async with event_stream(http, STREAM, params=query, headers={"Last-Event-ID": "unknown"}) as gapped:
                assert [event.event for event in await gapped.receive(2)] == ["ready", "gap"]
            look = await scraped(http)
            server.drop_connections()
            assert [event.event for event in await events.receive()] == ["gap"]
            server.reject_tokens(500)
            assert (await http.get("/realtime/pipeline/token", params={"runId": "r2"})).status_code == 502
            after = await scraped(http)
    assert look("connections", otel_scope_version=__version__) == 1
    assert look("connections") == look("subscriptions") == look("channels") == look("streams") == 1
    assert look("messages_received_total") == 2
    assert look("messages_delivered_total") == 4
    assert look("messages_dropped_total") == 0
    assert look("gaps_total", reason="expired") == 1
    assert look("resumes_total", outcome="served") == look("resumes_total", outcome="gapped") == 1
    assert look("reconnects_total") == 0
    assert look("stream_time_to_first_byte_seconds_count") == 3
    assert look("publish_duration_seconds_count") == 1
    assert look("token_duration_seconds_count") == 1
    assert look("subscribe_duration_seconds_count") == 3
    assert look("endpoint_errors_total", code="unknown_grant") == 1
    assert look("endpoint_streams") == 1
    assert look("endpoint_streams_limit") == 10_000
    assert look("buffer_size_bytes") == 0
    assert (look("buffer_size_limit_bytes") or 0) > 2**20
    assert look("window_size_bytes") == len('"first"') * 2 + len('"by another"')
    assert 0 < (look("connection_age_seconds") or 0) < 60
    assert 0 < (look("success_age_seconds") or 0) < 60
    assert look("healthy") == 1
    assert look("error_age_seconds") is None
    assert look("replay_healthy") is None
    assert after("gaps_total", reason="reconnect") == 1
    assert after("reconnects_total") == 1
    assert after("healthy") == 0
    assert 0 < (after("error_age_seconds", error_type="UnexpectedResponseError") or 0) < 60
    assert after("token_duration_seconds_count", error_type="UnexpectedResponseError") == 1
    assert after("endpoint_errors_total", code="inngest_failed") == 1


@pytest.mark.skipif(SERVER is None, reason="no redis-server on the path, and no wheel of one for this Python")
async def test_redis_that_is_away_is_scraped(server: DevServer, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        async with application(tmp_path, server.url, redis.url) as http:
            assert (await scraped(http))("replay_healthy") is None
            await http.post("/publish/first")
            well = await scraped(http)
            redis.stop()
            await http.post("/publish/second")
            away = await scraped(http)
    finally:
        redis.process.kill()
    assert well("replay_healthy") == 1
    assert away("replay_healthy") == 0
    assert 0 < (away("replay_healthy_age_seconds") or 0) < 5
    assert away("healthy") == 1  # of Inngest
