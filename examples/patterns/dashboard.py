"""Several channels in one page: each job has its own, and what concerns all of a team has another one.

    npx inngest-cli@latest dev -u http://127.0.0.1:8000/api/inngest
    cd examples/patterns && INNGEST_DEV=1 uvicorn dashboard:app

Needs `pip install "inngest-realtime[inngest,fastapi]" uvicorn`. The page opens an event stream for each channel; all of
them share one connection between this process and Inngest. Browsers open at most six connections to one host by
HTTP/1.1: serve a page of more streams by HTTP/2, or give such a page one channel that carries a summary of all.
"""

from __future__ import annotations

from pathlib import Path

import inngest
import inngest.fast_api
from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router
from inngest_realtime_functions import RealtimeMiddleware

client = inngest.Inngest(app_id="dashboard", middleware=[RealtimeMiddleware])
realtime = Realtime(client)


class Progress(BaseModel):
    done: int
    total: int


class Notice(BaseModel):
    job: str
    text: str


class Job(Channel, name="job:{team}:{job}"):
    team: str
    job: str
    progress = topic(Progress)


class Team(Channel, name="team:{team}"):
    team: str
    notices = topic(Notice)


@client.create_function(fn_id="run-job", trigger=inngest.TriggerEvent(event="job/requested"))
async def run_job(ctx: inngest.Context) -> None:
    team, name, total = str(ctx.event.data["team"]), str(ctx.event.data["job"]), 3
    job = Job(team=team, job=name)

    async def work(number: int) -> None:
        await realtime.publish(job.progress, Progress(done=number, total=total))

    for number in range(1, total + 1):
        await ctx.step.run("work", work, number)
    await realtime.publish_step(ctx, "finished", Team(team=team).notices, Notice(job=name, text="finished"))


app = FastAPI(title="Dashboard")
inngest.fast_api.serve(app, client, [run_job])
# Your own rules instead of allow_anyone: who belongs to this team?
grants = [Grant(Job, authorize=allow_anyone), Grant(Team, authorize=allow_anyone)]
app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).parent / "pages" / "dashboard.html")


@app.get("/style.css", include_in_schema=False)
async def style() -> FileResponse:
    return FileResponse(Path(__file__).parent.parent / "style.css")


@app.post("/teams/{team}/jobs/{job}", status_code=202)
async def start(team: str, job: str) -> None:
    await client.send(inngest.Event(name="job/requested", data={"team": team, "job": job}))
