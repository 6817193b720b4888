"""A Flask application with live progress. `nox -s example -- flask` runs it, and so does
`INNGEST_DEV=1 gunicorn --threads 32 flask_app:app`, with an Inngest dev server beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request, send_file

import pipeline
from inngest_realtime_core import Realtime
from inngest_realtime_flask import realtime_blueprint

realtime = Realtime()
app = Flask(__name__)
app.register_blueprint(realtime_blueprint(realtime, pipeline.grants), url_prefix="/api/realtime")


@app.get("/")
def page() -> Response:
    return send_file(Path(__file__).with_name("page.html"))


@app.post("/api/runs")
def start() -> tuple[dict[str, Any], int]:
    return pipeline.start(realtime, request.args["runId"]).model_dump(), 202


@app.get("/api/runs")
def read() -> dict[str, Any]:
    run = pipeline.runs.get(request.args["runId"])
    if run is None:
        abort(404, "There is no such run.")
    return run.model_dump()
