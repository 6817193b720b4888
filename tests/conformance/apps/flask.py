"""The suite's Flask application."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException

from conformance import site
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_flask import realtime_blueprint


def http_error(status: int) -> Exception:
    error = HTTPException()
    error.code = status
    return error


realtime = Realtime()
app = Flask(__name__)
app.register_blueprint(realtime_blueprint(realtime, site.grants(http_error), **site.options()), url_prefix=site.PREFIX)


@app.get("/stats")
def stats() -> dict[str, Any]:
    return site.stats(realtime)
