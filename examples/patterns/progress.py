"""Progress of a job for whoever opens its page, at whatever time: POST, redirect, page. With the Inngest dev server:

    npx inngest-cli@latest dev -u http://127.0.0.1:8000/api/inngest
    cd examples/patterns && INNGEST_DEV=1 uvicorn progress:app

Needs `pip install "inngest-realtime[inngest,fastapi]" uvicorn`. progress_flask.py is the same in Flask.

The run may have begun before the page is there, and somebody may get the link at half-time: the page asks for all that
was published so far (`rewind: "all"`, which the grant allows), and goes on with what comes. This process publishes and
serves the pages, so it remembers: for an hour, and 256 messages (`Replay(size=...)`). With several processes,
`Realtime(client, replay=RedisReplay("redis://...", max_age=3600.0))`.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import inngest
import inngest.fast_api
from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse
from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, Replay, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router
from inngest_realtime_functions import RealtimeMiddleware

client = inngest.Inngest(app_id="reports", middleware=[RealtimeMiddleware])
realtime = Realtime(client, replay=Replay(max_age=3600.0))  # as long as a run may take


class Status(BaseModel):
    step: str
    progress: float  # 0 to 1


class Report(Channel, name="report:{report_id}"):
    report_id: UUID
    status = topic(Status)


@client.create_function(fn_id="write-report", trigger=inngest.TriggerEvent(event="report/requested"))
async def write_report(ctx: inngest.Context) -> int:
    report = Report(report_id=UUID(str(ctx.event.data["reportId"])))

    async def collect() -> int:
        for part in range(1, 4):  # within a step, publish() is enough: it comes again only if the step does
            await realtime.publish(report.status, Status(step="collect", progress=part / 10))
        return 1344

    readings = await ctx.step.run("collect", collect)
    await realtime.publish_step(ctx, "written", report.status, Status(step="write", progress=0.6))
    await realtime.publish_step(ctx, "done", report.status, Status(step="done", progress=1))
    return readings


app = FastAPI(title="Reports")
inngest.fast_api.serve(app, client, [write_report])
# Your own rule instead of allow_anyone: who may see this report?
grants = [Grant(Report, authorize=allow_anyone, rewind="all")]
app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")


@app.get("/", include_in_schema=False)
@app.get("/reports/{report_id}", include_in_schema=False)
async def page(report_id: UUID | None = None) -> FileResponse:
    return FileResponse(Path(__file__).parent / "pages" / "progress.html")


@app.get("/style.css", include_in_schema=False)
async def style() -> FileResponse:
    return FileResponse(Path(__file__).parent.parent / "style.css")


@app.post("/reports")
async def start() -> RedirectResponse:
    report_id = uuid4()
    await client.send(inngest.Event(name="report/requested", data={"reportId": str(report_id)}))
    return RedirectResponse(f"/reports/{report_id}", status_code=303)
