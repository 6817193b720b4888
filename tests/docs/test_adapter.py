"""The adapter of the page on writing one serves a token, a stream and an endpoint error, over a socket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inngest_realtime_devserver import DevServer

from .blocks import ROOT, blocks_of

SCRIPT = """
import asyncio, socket, sys
import httpx, uvicorn
from inngest_realtime import Channel, Grant, Realtime, topic
from inngest_realtime_devserver.testing import event_stream
from plain_asgi import NoSuchJob, realtime_app


class Job(Channel, name="job:{job_id}"):
    job_id: str
    status = topic(str)


def authorize(scope, channel):
    if channel.job_id == "gone":
        raise NoSuchJob("no such job")
    return scope["path"].startswith("/job/")


async def main():
    realtime = Realtime(api_base_url=sys.argv[1])
    app = realtime_app(realtime, [Grant(Job, authorize=authorize)], heartbeat=1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        token = await client.post("/job/token", json={"jobId": "1"})
        assert set(token.json()) == {"key", "apiBaseUrl"}, token.text
        assert (await client.get("/job/token?jobId=gone")).status_code == 404
        assert (await client.head("/job/stream?jobId=1")).status_code == 405
        assert (await client.get("/client.js")).status_code == 200
        async with event_stream(client, "/job/stream", params={"jobId": "1"}) as events:
            (ready,) = await events.receive()
            await realtime.publish(Job(job_id="1").status, "x")
            assert (await events.receive())[0].json()["data"] == "x"
    realtime.begin_shutdown()
    server.should_exit = True
    await serving
    await realtime.close()


asyncio.run(main())
"""


def test_the_adapter_of_the_page(tmp_path: Path) -> None:
    (block,) = (block for block in blocks_of(ROOT / "docs" / "writing-an-adapter.md") if block.title)
    (tmp_path / block.title).write_text(block.code)
    (tmp_path / "script.py").write_text(SCRIPT)
    with DevServer().in_thread() as server:
        command = [sys.executable, "script.py", server.url]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
