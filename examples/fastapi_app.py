"""A FastAPI application with live progress. `nox -s example -- fastapi` runs it, and so does
`INNGEST_DEV=1 uvicorn fastapi_app:app`, with an Inngest dev server beside it."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import pipeline
from inngest_realtime_core import Realtime
from inngest_realtime_fastapi import realtime_router

HERE = Path(__file__).parent

realtime = Realtime()
app = FastAPI(title="Pipeline")
app.include_router(realtime_router(realtime, pipeline.grants), prefix="/api/realtime")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(HERE / "page.html")


@app.get("/style.css", include_in_schema=False)
async def style() -> FileResponse:
    return FileResponse(HERE / "style.css")


# `npm install && npm run build` in react/ makes it; the other pages need no build.
app.mount("/react", StaticFiles(directory=HERE / "react" / "dist", html=True, check_dir=False))


@app.post("/api/runs", status_code=202)
async def start(runId: str) -> pipeline.Run:
    return pipeline.start(realtime, runId)


@app.get("/api/runs")
async def read(runId: str) -> pipeline.Run:
    if runId not in pipeline.runs:
        raise HTTPException(404, "There is no such run.")
    return pipeline.runs[runId]
