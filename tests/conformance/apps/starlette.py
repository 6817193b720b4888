"""The suite's Starlette application: mounted in an outer one, without a lifespan."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from conformance import site
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_starlette import realtime_routes

realtime = Realtime()


async def stats(request: Request) -> JSONResponse:
    return JSONResponse(site.stats(realtime))


routes = realtime_routes(realtime, site.grants(HTTPException), **site.options())
app = Starlette(routes=[Route("/stats", stats), Mount(site.PREFIX, routes=routes)])
