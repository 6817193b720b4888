"""The suite's FastAPI application."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance import site
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError, Subscription
from inngest_realtime_fastapi import (
    RealtimeStreamingResponse,
    realtime_error_handler,
    realtime_router,
    subscription_stream,
    subscription_token,
)

current_user: ContextVar[str | None] = ContextVar("current_user")


class UserMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            current_user.set(Request(scope).headers.get("x-user"))
        await self.app(scope, receive, send)


def user(_: Request) -> str | None:
    return current_user.get()


realtime = site.new_realtime()
app = FastAPI()
app.add_middleware(UserMiddleware)
app.include_router(realtime_router(realtime, site.grants(HTTPException, user), **site.options()), prefix=site.PREFIX)
app.add_exception_handler(RealtimeError, realtime_error_handler)


@app.get("/stats")
async def stats() -> dict[str, Any]:
    return site.stats(realtime)


@app.get("/own/{run_id}/token")
async def own_token(
    token: Annotated[ClientSubscriptionToken, Depends(subscription_token(realtime, site.PIPELINE))],
) -> dict[str, str]:
    return token.to_dict()


@app.get("/own/{run_id}/stream")
async def own_stream(
    stream: Annotated[Subscription, Depends(subscription_stream(realtime, site.HISTORY))],
) -> RealtimeStreamingResponse:
    return RealtimeStreamingResponse(stream, send_timeout=site.send_timeout())


@app.get("/own/{run_id}/iterated")
async def own_iterated(
    stream: Annotated[Subscription, Depends(subscription_stream(realtime, site.HISTORY))],
) -> StreamingResponse:
    return StreamingResponse(site.iterated(stream), media_type="text/event-stream")


@app.get("/own/{run_id}/rendered")
def own_rendered(
    stream: Annotated[Subscription, Depends(subscription_stream(realtime, site.HISTORY))],
) -> RealtimeStreamingResponse:
    return RealtimeStreamingResponse(stream, render=site.fragment)


@app.get("/own/{run_id}/other/token")
def other_token(
    token: Annotated[ClientSubscriptionToken, Depends(subscription_token(realtime, site.PIPELINE))],
) -> dict[str, str]:
    return token.to_dict()


@app.get("/own/{run_id}/other/stream")
def other_stream(
    stream: Annotated[Subscription, Depends(subscription_stream(realtime, site.HISTORY))],
) -> RealtimeStreamingResponse:
    return RealtimeStreamingResponse(stream)


@app.get("/own/{run_id}/response")
async def own_response(run_id: str) -> RealtimeStreamingResponse:
    subscription = await realtime.subscribe(channel=site.Pipeline(run_id=run_id), topics=["tokens"])
    await asyncio.sleep(1)
    return RealtimeStreamingResponse(subscription)


@app.get("/own/{run_id}/error")
async def own_error(run_id: str) -> None:
    site.Pipeline(run_id="a:b")
