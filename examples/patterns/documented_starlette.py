"""documented.py in Starlette: `INNGEST_DEV=1 uvicorn documented_starlette:app`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from documented import Pipeline, get_realtime_token, grant, may_view, realtime
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError
from inngest_realtime_starlette import realtime_error_handler, realtime_routes, subscription_token


# 1. The server action, called by an endpoint of yours.
async def server_action(request: Request) -> JSONResponse:
    return await token_for(request, request.path_params["run_id"])


async def token_for(request: Request, run_id: str) -> JSONResponse:
    if not may_view(request, Pipeline(run_id=run_id)):
        raise HTTPException(403)
    token = await get_realtime_token(run_id)
    return JSONResponse(token.to_dict(), headers={"Cache-Control": "no-store"})


# 2. The route: GET /api/realtime-token?runId=abc123. The decorator asks may_view.
@subscription_token(realtime, grant)
async def realtime_token(request: Request, token: ClientSubscriptionToken) -> JSONResponse:
    return JSONResponse(token.to_dict())


# 3. The server function: its input is validated before it begins, to be a text here as there.
async def server_function(request: Request) -> JSONResponse:
    run_id = request.query_params.get("runId")
    if not run_id:
        raise HTTPException(422)
    return await token_for(request, run_id)


app = Starlette(
    routes=[
        Route("/runs/{run_id}/token", server_action, methods=["POST"]),
        Route("/api/realtime-token", realtime_token, methods=["GET"]),
        Route("/api/get-realtime-token", server_function, methods=["GET"]),
        # All that without a line of your own: GET or POST /api/realtime/pipeline/token?runId=abc123.
        Mount("/api/realtime", routes=realtime_routes(realtime, [grant])),
    ],
    exception_handlers={RealtimeError: realtime_error_handler},  # a run id that cannot be one is a 422
)
