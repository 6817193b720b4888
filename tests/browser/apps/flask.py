from __future__ import annotations

from flask import Flask
from flask_cors import CORS

from browser import site
from inngest_realtime_core import Realtime
from inngest_realtime_flask import realtime_blueprint

realtime = Realtime()
app = Flask(__name__)
CORS(app, origins=[site.OTHER_ORIGIN], supports_credentials=True, allow_headers=site.HEADERS)
app.register_blueprint(
    realtime_blueprint(realtime, site.GRANTS, heartbeat=site.HEARTBEAT, max_streams=48), url_prefix=site.PREFIX
)


@app.get("/stats")
def stats() -> dict[str, int]:
    return {"streams": realtime.stats().channels}
