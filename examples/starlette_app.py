"""A Starlette application with live progress. `nox -s example -- starlette` runs it, and so does
`INNGEST_DEV=1 uvicorn starlette_app:app`, with an Inngest dev server beside it."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import pipeline
from inngest_realtime_core import Realtime
from inngest_realtime_starlette import realtime_routes

HERE = Path(__file__).parent

realtime = Realtime()


async def page(request: Request) -> FileResponse:
    return FileResponse(HERE / "page.html")


async def style(request: Request) -> FileResponse:
    return FileResponse(HERE / "style.css")


async def runs(request: Request) -> JSONResponse:
    run_id = request.query_params.get("runId", "")
    if request.method == "POST":
        return JSONResponse(pipeline.start(realtime, run_id).model_dump(), status_code=202)
    if run_id not in pipeline.runs:
        raise HTTPException(404, "There is no such run.")
    return JSONResponse(pipeline.runs[run_id].model_dump())


app = Starlette(
    routes=[
        Route("/", page),
        Route("/style.css", style),
        # `npm install && npm run build` in react/ makes it; the other pages need no build.
        Mount("/react", StaticFiles(directory=HERE / "react" / "dist", html=True, check_dir=False)),
        Route("/api/runs", runs, methods=["GET", "POST"]),
        Mount("/api/realtime", routes=realtime_routes(realtime, pipeline.grants)),
    ]
)
