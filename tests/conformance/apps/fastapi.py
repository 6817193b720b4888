"""The suite's FastAPI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException

from conformance import site
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_fastapi import realtime_router

realtime = Realtime()
app = FastAPI()
app.include_router(realtime_router(realtime, site.grants(HTTPException), **site.options()), prefix=site.PREFIX)


@app.get("/stats")
async def stats() -> dict[str, Any]:
    return site.stats(realtime)
