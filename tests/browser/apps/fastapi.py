from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from browser import site
from inngest_realtime_core import Realtime
from inngest_realtime_fastapi import realtime_router

realtime = Realtime()
app = FastAPI()
app.add_middleware(
    CORSMiddleware, allow_origins=[site.OTHER_ORIGIN], allow_credentials=True, allow_headers=site.HEADERS
)
app.include_router(realtime_router(realtime, site.GRANTS, heartbeat=site.HEARTBEAT), prefix=site.PREFIX)


@app.get("/stats")
async def stats() -> dict[str, int]:
    return {"streams": realtime.stats().channels}
