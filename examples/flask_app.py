"""A Flask application with live progress. `nox -s example -- flask` runs it, and so does
`INNGEST_DEV=1 gunicorn --threads 32 flask_app:app`, with an Inngest dev server beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request, send_file, send_from_directory

import pipeline
from inngest_realtime_core import Realtime
from inngest_realtime_flask import realtime_blueprint

HERE = Path(__file__).parent

realtime = Realtime()
app = Flask(__name__)
app.register_blueprint(realtime_blueprint(realtime, pipeline.grants), url_prefix="/api/realtime")


@app.get("/")
def page() -> Response:
    return send_file(HERE / "page.html")


@app.get("/style.css")
def style() -> Response:
    return send_file(HERE / "style.css")


# `npm install && npm run build` in react/ makes it; the other pages need no build.
@app.get("/react/")
@app.get("/react/<path:name>")
def react(name: str = "index.html") -> Response:
    return send_from_directory(HERE / "react" / "dist", name)


@app.post("/api/runs")
def start() -> tuple[dict[str, Any], int]:
    return pipeline.start(realtime, request.args["runId"]).model_dump(), 202


@app.get("/api/runs")
def read() -> dict[str, Any]:
    run = pipeline.runs.get(request.args["runId"])
    if run is None:
        abort(404, "There is no such run.")
    return run.model_dump()
