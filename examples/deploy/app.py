"""An application for two workers that share a log in Redis. `POST /runs/{run_id}` stands for what starts a function."""

from __future__ import annotations

import os

from fastapi import BackgroundTasks, FastAPI, Response

from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router
from inngest_realtime_redis import RedisReplay


class Run(Channel, name="run:{run_id}"):
    run_id: str
    status = topic(str)


realtime = Realtime(
    replay=RedisReplay(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")),
    # Browsers that take tokens reach Inngest elsewhere than this container does.
    client_api_base_url=os.environ.get("INNGEST_PUBLIC_URL"),
)
grants = [Grant(Run, topics=[Run.status], authorize=allow_anyone)]

app = FastAPI()
app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")


@app.post("/runs/{run_id}", status_code=202)
async def start(run_id: str, background: BackgroundTasks) -> None:
    background.add_task(realtime.publish, Run(run_id=run_id).status, "started")


@app.get("/ready")
def ready(response: Response) -> None:
    """Not tied to Inngest: while it is away, pages, and streams that wait for it, are served all the same."""
    response.status_code = 503 if realtime.is_shutting_down else 204
