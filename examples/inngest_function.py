"""A real Inngest function that publishes from its steps, and the application that serves it and its live page.

With the Inngest dev server:

    npx inngest-cli@latest dev -u http://127.0.0.1:8000/api/inngest
    cd examples && INNGEST_DEV=1 uvicorn inngest_function:app

Open http://127.0.0.1:8000 and start a run. Needs `pip install inngest "inngest-realtime[fastapi]" uvicorn`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import inngest
import inngest.fast_api
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse

from inngest_realtime_core import Realtime
from inngest_realtime_fastapi import realtime_router
from pipeline import TEXT, Pipeline, Run, Status, grants, runs

client = inngest.Inngest(app_id="grid-report", logger=logging.getLogger("uvicorn"))
realtime = Realtime(client)  # the same address and keys as the client's


@client.create_function(fn_id="write-report", trigger=inngest.TriggerEvent(event="report/requested"))
async def write_report(ctx: inngest.Context) -> str:
    channel = Pipeline(run_id=str(ctx.event.data["runId"]))
    run = queued(channel.run_id)

    async def report(step: str, message: str, progress: float) -> None:
        run.status = Status(step=step, message=message, progress=progress)
        await realtime.publish(channel.status, run.status, run_id=ctx.run_id)

    # Publish inside a step: Inngest runs what is outside of steps again after each of them.
    async def collect() -> int:
        await report("collect", "Collecting the week's readings", 0.1)
        return 1344

    async def write(readings: int) -> str:
        await report("analyse", f"Comparing {readings:,} readings with the week before", 0.35)
        await report("write", "Writing the summary", 0.55)
        await realtime.publish_stream(channel.tokens, words(run), run_id=ctx.run_id)
        await report("done", "The summary is ready", 1)
        return run.text

    readings = await ctx.step.run("collect", collect)
    return await ctx.step.run("write", write, readings)


def queued(run_id: str) -> Run:
    """The record of a run. Keep it in your database: web and worker are two processes there."""
    return runs.setdefault(
        run_id, Run(runId=run_id, status=Status(step="queued", message="Waiting for a worker", progress=0))
    )


def words(run: Run) -> Iterator[str]:
    run.text = ""
    for word in TEXT.split(" "):
        run.text += f"{word} "
        yield f"{word} "


app = FastAPI(title="Report")
inngest.fast_api.serve(app, client, [write_report])
app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.post("/api/runs", status_code=202)
async def start(runId: str) -> Run:
    run = queued(runId)
    await client.send(inngest.Event(name="report/requested", data={"runId": runId}))
    return run


@app.get("/api/runs")
async def read(runId: str) -> Run:
    if runId not in runs:
        raise HTTPException(404, "There is no such run.")
    return runs[runId]
