"""The suite's Litestar application, with the adapter of the examples."""

from __future__ import annotations

import asyncio
from typing import Any

from inngest_realtime_litestar import (
    event_stream,
    realtime_error_handler,
    realtime_router,
    subscription_stream,
    subscription_token,
)
from litestar import Litestar, Request, Response, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.response import Stream
from litestar.types import ASGIApp, Receive, Scope, Send

from conformance import site
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError, Subscription

realtime = site.new_realtime()


def http_error(status: int) -> Exception:
    return HTTPException(status_code=status)


@get("/stats", sync_to_thread=False)
def stats() -> dict[str, Any]:
    return site.stats(realtime)


provide_token = subscription_token(realtime, site.PIPELINE)
provide_stream = subscription_stream(realtime, site.HISTORY)


@get("/own/{run_id:str}/token", dependencies={"token": Provide(provide_token)})
async def own_token(token: ClientSubscriptionToken) -> Response[dict[str, str]]:
    return Response(token.to_dict(), headers={"Cache-Control": "no-store"})


@get("/own/{run_id:str}/stream", dependencies={"stream": Provide(provide_stream)})
async def own_stream(stream: Subscription) -> ASGIApp:
    return event_stream(stream, send_timeout=site.send_timeout())


@get("/own/{run_id:str}/iterated", dependencies={"stream": Provide(provide_stream)})
async def own_iterated(stream: Subscription) -> Stream:
    return Stream(site.iterated(stream), media_type="text/event-stream")


@get("/own/{run_id:str}/rendered", dependencies={"stream": Provide(provide_stream)})
async def own_rendered(stream: Subscription) -> ASGIApp:
    return event_stream(stream, render=site.fragment)


@get("/own/{run_id:str}/other/token", dependencies={"token": Provide(provide_token)}, sync_to_thread=True)
def other_token(token: ClientSubscriptionToken) -> Response[dict[str, str]]:
    return Response(token.to_dict(), headers={"Cache-Control": "no-store"})


@get("/own/{run_id:str}/other/stream", dependencies={"stream": Provide(provide_stream)}, sync_to_thread=True)
def other_stream(stream: Subscription) -> ASGIApp:
    return event_stream(stream)


@get("/own/{run_id:str}/response")
async def own_response(run_id: str) -> ASGIApp:
    subscription = await realtime.subscribe(channel=site.Pipeline(run_id=run_id), topics=["tokens"])
    await asyncio.sleep(1)
    return event_stream(subscription)


@get("/own/{run_id:str}/error")
async def own_error(run_id: str) -> None:
    site.Pipeline(run_id="a:b")


def with_user(app: ASGIApp) -> ASGIApp:
    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        scope["user"] = Request[Any, Any, Any](scope).headers.get("x-user")
        await app(scope, receive, send)

    return middleware


def user(request: Request[Any, Any, Any]) -> str | None:
    return request.user


app = Litestar(
    [
        stats,
        own_token,
        own_stream,
        own_iterated,
        own_rendered,
        other_token,
        other_stream,
        own_response,
        own_error,
        realtime_router(realtime, site.grants(http_error, user), site.PREFIX, **site.options()),
    ],
    middleware=[with_user],
    exception_handlers={RealtimeError: realtime_error_handler},
)
