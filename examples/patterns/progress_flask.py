"""progress.py in Flask, with a function that is not async. With the Inngest dev server beside it:

    npx inngest-cli@latest dev -u http://127.0.0.1:5000/api/inngest
    cd examples/patterns && INNGEST_DEV=1 flask --app progress_flask run

Needs `pip install "inngest-realtime[inngest,flask]"`.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import inngest
import inngest.flask
from flask import Flask, Response, redirect, send_file
from pydantic import BaseModel
from werkzeug.wrappers import Response as AnyResponse

from inngest_realtime_core import Channel, Grant, Realtime, Replay, allow_anyone, topic
from inngest_realtime_flask import realtime_blueprint
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
def write_report(ctx: inngest.ContextSync) -> int:
    report = Report(report_id=UUID(str(ctx.event.data["reportId"])))

    def collect() -> int:
        for part in range(1, 4):
            realtime.publish_sync(report.status, Status(step="collect", progress=part / 10))
        return 1344

    readings = ctx.step.run("collect", collect)
    realtime.publish_step_sync(ctx, "written", report.status, Status(step="write", progress=0.6))
    realtime.publish_step_sync(ctx, "done", report.status, Status(step="done", progress=1))
    return readings


app = Flask(__name__)
inngest.flask.serve(app, client, [write_report])
# Your own rule instead of allow_anyone: who may see this report?
grants = [Grant(Report, authorize=allow_anyone, rewind="all")]
app.register_blueprint(realtime_blueprint(realtime, grants), url_prefix="/api/realtime")


@app.get("/")
@app.get("/reports/<uuid:report_id>")
def page(report_id: UUID | None = None) -> Response:
    return send_file(Path(__file__).parent / "pages" / "progress.html")


@app.get("/style.css")
def style() -> Response:
    return send_file(Path(__file__).parent.parent / "style.css")


@app.post("/reports")
def start() -> AnyResponse:
    report_id = uuid4()
    client.send_sync(inngest.Event(name="report/requested", data={"reportId": str(report_id)}))
    return redirect(f"/reports/{report_id}", 303)
