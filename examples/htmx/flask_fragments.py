"""Live HTML with Flask and htmx: with an Inngest dev server beside it, in this folder,
`INNGEST_DEV=1 gunicorn --threads 32 flask_fragments:app`."""

from __future__ import annotations

import uuid
from pathlib import Path

import report
from flask import Flask, Response, redirect, render_template, request, send_file, url_for
from werkzeug.wrappers import Response as AnyResponse

from inngest_realtime_core import Grant, Realtime
from inngest_realtime_core.endpoints import template_fragments
from inngest_realtime_flask import realtime_blueprint

app = Flask(__name__)
realtime = Realtime(replay=report.HISTORY)
render = template_fragments(app.jinja_env, report.TEMPLATES)
grants = [Grant(report.Report, authorize=report.may_view, render=render, rewind="all", rewind_default="all")]
app.register_blueprint(realtime_blueprint(realtime, grants), url_prefix="/api/realtime")


@app.get("/<any(htmx2, htmx4):version>")
def page(version: str) -> str | AnyResponse:
    run_id = request.args.get("run")
    if run_id is None:  # the address names the run: reload it, or open it in another tab
        return redirect(url_for("page", version=version, run=uuid.uuid4().hex))
    return render_template(f"{version}.html", run_id=run_id, regions=report.REGIONS)


@app.post("/runs/<run_id>")
def start(run_id: str) -> tuple[str, int]:
    report.start(realtime, run_id)
    return "", 204


@app.get("/style.css")
def style() -> Response:
    return send_file(Path(__file__).parent.parent / "style.css")
