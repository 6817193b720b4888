"""The suite's Flask application."""

from __future__ import annotations

import asyncio
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


@app.get("/asyncio")
def own_event_loop() -> str:
    """What an application does that calls asynchronous libraries from its views."""

    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    return asyncio.run(work())
