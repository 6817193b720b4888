"""What type checkers make of the adapters' helpers for routes of one's own. Checked, not run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from django.http import HttpRequest, JsonResponse
from fastapi import Depends, FastAPI
from flask import Response as FlaskResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import assert_type

import inngest_realtime_django as in_django
import inngest_realtime_fastapi as in_fastapi
import inngest_realtime_flask as in_flask
import inngest_realtime_starlette as in_starlette
from inngest_realtime_core import Channel, ClientSubscriptionToken, Realtime, Subscription, SyncSubscription, topic
from inngest_realtime_core.endpoints import Grant, allow_anyone


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    tokens = topic(str)


realtime = Realtime()
grant = Grant(Pipeline, authorize=allow_anyone)


# Starlette: of a function or a coroutine function comes an endpoint that is awaited.
@in_starlette.subscription_token(realtime, grant)
async def starlette_token(request: Request, token: ClientSubscriptionToken) -> JSONResponse:
    return JSONResponse(token.to_dict())


@in_starlette.subscription_stream(realtime, grant)
def starlette_stream(request: Request, stream: Subscription) -> Response:
    return in_starlette.RealtimeStreamingResponse(stream)


assert_type(starlette_token, Callable[..., Awaitable[Response]])
assert_type(starlette_stream, Callable[..., Awaitable[Response]])


# Flask: of either comes a view that is called.
@in_flask.subscription_token(realtime, grant)
def flask_token(token: ClientSubscriptionToken, run_id: str) -> dict[str, str]:
    return token.to_dict()


@in_flask.subscription_stream(realtime, grant)
async def flask_stream(stream: SyncSubscription, run_id: str) -> FlaskResponse:
    return in_flask.sse_response(stream)


assert_type(flask_token, Callable[..., FlaskResponse])
assert_type(flask_stream, Callable[..., FlaskResponse])


# Django: a view stays what it is, sync or async.
@in_django.subscription_token(realtime, grant)
def django_token(request: HttpRequest, run_id: str, token: ClientSubscriptionToken) -> JsonResponse:
    return JsonResponse(token.to_dict())


@in_django.subscription_stream(realtime, grant)
async def django_stream(
    request: HttpRequest, run_id: str, stream: Subscription | SyncSubscription
) -> in_django.RealtimeStreamingResponse:
    return in_django.RealtimeStreamingResponse(request, stream)


assert_type(django_token, Callable[..., Any])
assert_type(django_stream, Callable[..., Any])


# FastAPI: dependencies.
app = FastAPI()


@app.get("/runs/{run_id}/token")
async def fastapi_token(
    token: Annotated[ClientSubscriptionToken, Depends(in_fastapi.subscription_token(realtime, grant))],
) -> dict[str, str]:
    return token.to_dict()


@app.get("/runs/{run_id}/events")
def fastapi_stream(
    stream: Annotated[Subscription, Depends(in_fastapi.subscription_stream(realtime, grant))],
) -> in_fastapi.RealtimeStreamingResponse:
    return in_fastapi.RealtimeStreamingResponse(stream)


assert_type(in_fastapi.subscription_stream(realtime, grant), Callable[[Request], Awaitable[Subscription]])

# What is not a grant, or no Realtime, is an error in the editor.
in_starlette.subscription_token(grant, realtime)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
in_flask.subscription_stream(realtime, Pipeline)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
in_django.subscription_token(realtime, "pipeline")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
in_fastapi.subscription_token(realtime, [grant])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
in_flask.sse_response(starlette_stream)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
