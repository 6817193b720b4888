"""The deployment example: what can be tried of it without containers."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from inngest_realtime_cli.stream_checks import check_stream
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import event_stream
from test_redis_replay import SERVER, RedisServer

DEPLOY = Path(__file__).parent.parent / "examples" / "deploy"
STREAM = "/api/realtime/run/stream"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def test_the_services_fit_each_other() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services["app"]["depends_on"]) | {"app", "nginx"} == set(services)
    assert "server app:8000;" in (DEPLOY / "nginx.conf").read_text()
    assert '--port", "8000"' in (DEPLOY / "Dockerfile").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(command: list[str], url: str, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """A process that serves at an address, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=DEPLOY, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )

    try:
        transport = httpx.AsyncHTTPTransport(retries=8)  # until it listens
        async with httpx.AsyncClient(transport=transport, base_url=url, timeout=30) as client:
            assert (await client.get("/ready")).status_code == 204
            yield client
    finally:
        process.terminate()
        await process.wait()


async def come_back(web: httpx.AsyncClient, run_id: str) -> list[list[str]]:
    """What a page gets that leaves after its first event and comes back six times, to whichever worker."""
    query = {"runId": run_id}
    async with event_stream(web, STREAM, params=query) as events:
        (ready,) = await events.receive(timeout=20)
        await web.post(f"/runs/{run_id}")
        (event,) = await events.receive(timeout=20)
    assert (ready.event, event.json()["data"]) == ("ready", "started")
    returns: list[list[str]] = []
    for _ in range(6):
        headers = {"Last-Event-ID": ready.id or "", "Connection": "close"}
        async with event_stream(web, STREAM, params=query, headers=headers) as events:
            returns.append([each.event for each in await events.receive(2, timeout=20)])
    return returns


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.skipif(SERVER is None, reason="no redis-server on the path, and no wheel of one for this Python")
async def test_nginx_in_front_of_two_workers(server: DevServer, tmp_path: Path) -> None:
    """The example as a whole, on this machine: a page comes back through nginx to either worker, and misses nothing."""
    app_port, port = free_port(), free_port()
    site = (DEPLOY / "nginx.conf").read_text()
    site = site.replace("app:8000", f"127.0.0.1:{app_port}").replace("listen 80;", f"listen 127.0.0.1:{port};")
    places = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}} "
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; {places} {site} }}"
    )
    docker = yaml.safe_load((DEPLOY / "Dockerfile").read_text().rpartition("CMD ")[2])
    uvicorn = [sys.executable, "-m", *docker]
    uvicorn[uvicorn.index("8000")] = str(app_port)
    uvicorn[uvicorn.index("0.0.0.0")] = "127.0.0.1"
    assert NGINX is not None
    redis = RedisServer(tmp_path)
    try:
        settings = {"INNGEST_DEV": server.url, "REDIS_URL": redis.url}
        async with (
            running(uvicorn, f"http://127.0.0.1:{app_port}", **settings),
            running([NGINX, "-c", str(main), "-p", str(tmp_path)], f"http://127.0.0.1:{port}") as web,
        ):
            # Until Redis has answered a worker for the first time, which takes long on a busy machine, it can only
            # estimate where a stream begins, and the other one tells a gap.
            for attempt in range(20):
                if await come_back(web, f"warm-{attempt}") == [["ready", "message"]] * 6:
                    break
            assert await come_back(web, "r1") == [["ready", "message"]] * 6
            found = [each async for each in check_stream(f"{web.base_url}{STREAM}?runId=r2", [], wait=12)]
            assert [(each.level.value, each.subject) for each in found if each.subject == "heartbeats"] == [
                ("ok", "heartbeats")
            ]
    finally:
        redis.stop()


async def test_the_application_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEPLOY))
    monkeypatch.setenv("INNGEST_DEV", "http://127.0.0.1:9")
    import app as deployed

    transport = httpx.ASGITransport(app=deployed.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as site:
        assert (await site.get("/ready")).status_code == 204
        assert (await site.get("/api/realtime/run/stream")).status_code == 400
    await deployed.realtime.close()
