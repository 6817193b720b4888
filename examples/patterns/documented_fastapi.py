"""documented.py in FastAPI: `INNGEST_DEV=1 uvicorn documented_fastapi:app`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response

from documented import Pipeline, get_realtime_token, grant, may_view, realtime
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError
from inngest_realtime_fastapi import realtime_error_handler, realtime_router, subscription_token

app = FastAPI()
app.add_exception_handler(RealtimeError, realtime_error_handler)  # a run id that cannot be one is a 422


# 1. The server action, called by a path operation of yours.
@app.post("/runs/{run_id}/token")
async def server_action(run_id: str, request: Request, response: Response) -> dict[str, str]:
    if not may_view(request, Pipeline(run_id=run_id)):
        raise HTTPException(403)
    response.headers["Cache-Control"] = "no-store"
    return (await get_realtime_token(run_id)).to_dict()


# 2. The route: GET /api/realtime-token?runId=abc123. The dependency asks may_view.
Token = Annotated[ClientSubscriptionToken, Depends(subscription_token(realtime, grant))]


@app.get("/api/realtime-token")
async def realtime_token(token: Token) -> dict[str, str]:
    return token.to_dict()


# 3. The server function: its input is validated before it begins, to be a text here as there.
RunId = Annotated[str, Query(alias="runId", min_length=1)]


@app.get("/api/get-realtime-token")
async def server_function(run_id: RunId, request: Request, response: Response) -> dict[str, str]:
    return await server_action(run_id, request, response)


# All that without a line of your own: GET or POST /api/realtime/pipeline/token?runId=abc123.
app.include_router(realtime_router(realtime, [grant]), prefix="/api/realtime")
