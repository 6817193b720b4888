"""The suite's Starlette application: mounted in an outer one, without a lifespan."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance import site
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError, Subscription
from inngest_realtime_starlette import (
    RealtimeStreamingResponse,
    realtime_error_handler,
    realtime_routes,
    subscription_stream,
    subscription_token,
)

realtime = site.new_realtime()


async def stats(request: Request) -> JSONResponse:
    return JSONResponse(site.stats(realtime))


@subscription_token(realtime, site.PIPELINE)
async def own_token(request: Request, token: ClientSubscriptionToken) -> Response:
    return JSONResponse(token.to_dict())


@subscription_stream(realtime, site.HISTORY)
async def own_stream(request: Request, stream: Subscription) -> Response:
    return RealtimeStreamingResponse(stream, send_timeout=site.send_timeout())


@subscription_stream(realtime, site.HISTORY)
async def own_iterated(request: Request, stream: Subscription) -> Response:
    return StreamingResponse(site.iterated(stream), media_type="text/event-stream")


@subscription_stream(realtime, site.HISTORY)
def own_rendered(request: Request, stream: Subscription) -> Response:
    return RealtimeStreamingResponse(stream, render=site.fragment)


@subscription_token(realtime, site.PIPELINE)
def other_token(token: ClientSubscriptionToken, request: Request) -> Response:
    return JSONResponse(token.to_dict())


@subscription_stream(realtime, site.HISTORY)
def other_stream(request: Request, stream: Subscription) -> Response:
    return RealtimeStreamingResponse(stream)


async def own_response(request: Request) -> Response:
    channel = site.Pipeline(run_id=request.path_params["run_id"])
    subscription = await realtime.subscribe(channel=channel, topics=["tokens"])
    await asyncio.sleep(1)
    return RealtimeStreamingResponse(subscription)


async def own_error(request: Request) -> Response:
    site.Pipeline(run_id="a:b")
    raise AssertionError


class UserMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            Request(scope).state.user = Request(scope).headers.get("x-user")
        await self.app(scope, receive, send)


def user(request: Request) -> str | None:
    return request.state.user


routes = realtime_routes(realtime, site.grants(HTTPException, user), **site.options())
app = Starlette(
    routes=[
        Route("/stats", stats),
        Route("/own/{run_id}/token", own_token),
        Route("/own/{run_id}/stream", own_stream),
        Route("/own/{run_id}/iterated", own_iterated),
        Route("/own/{run_id}/rendered", own_rendered),
        Route("/own/{run_id}/other/token", other_token),
        Route("/own/{run_id}/other/stream", other_stream),
        Route("/own/{run_id}/response", own_response),
        Route("/own/{run_id}/error", own_error),
        Mount(site.PREFIX, routes=routes),
    ],
    middleware=[Middleware(UserMiddleware)],
    exception_handlers={RealtimeError: realtime_error_handler},
)
