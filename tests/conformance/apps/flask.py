"""The suite's Flask application."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from conformance import site
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError, SyncSubscription
from inngest_realtime_flask import (
    realtime_blueprint,
    realtime_error_handler,
    sse_response,
    subscription_stream,
    subscription_token,
)


def http_error(status: int) -> Exception:
    error = HTTPException()
    error.code = status
    return error


def user(_: Any) -> str | None:
    assert request.headers.get("x-user") == g.user
    return g.user


realtime = site.new_realtime()
app = Flask(__name__)
grants = site.grants(http_error, user)
app.register_blueprint(realtime_blueprint(realtime, grants, **site.options()), url_prefix=site.PREFIX)
app.register_error_handler(RealtimeError, realtime_error_handler)


@app.before_request
def load_user() -> None:
    """As the tutorial of Flask does it."""
    g.user = request.headers.get("x-user")


@app.get("/own/<run_id>/token")
@subscription_token(realtime, site.PIPELINE)
async def own_token(run_id: str, token: ClientSubscriptionToken) -> dict[str, str]:
    return token.to_dict()


@app.get("/own/<run_id>/stream")
@subscription_stream(realtime, site.HISTORY)
def own_stream(run_id: str, stream: SyncSubscription) -> Response:
    return sse_response(stream, send_timeout=site.send_timeout())


@app.get("/own/<run_id>/iterated")
@subscription_stream(realtime, site.HISTORY)
def own_iterated(run_id: str, stream: SyncSubscription) -> Response:
    return Response(site.iterated_sync(stream), mimetype="text/event-stream")


@app.get("/own/<run_id>/rendered")
@subscription_stream(realtime, site.HISTORY)
async def own_rendered(run_id: str, stream: SyncSubscription) -> Response:
    return sse_response(stream, render=site.fragment)


@app.get("/own/<run_id>/other/token")
@subscription_token(realtime, site.PIPELINE)
async def other_token(token: ClientSubscriptionToken, run_id: str) -> dict[str, str]:
    await asyncio.sleep(0)
    return token.to_dict()


@app.get("/own/<run_id>/other/stream")
@subscription_stream(realtime, site.HISTORY)
async def other_stream(run_id: str, stream: SyncSubscription) -> Response:
    await asyncio.sleep(0)
    return sse_response(stream)


@app.get("/own/<run_id>/response")
def own_response(run_id: str) -> Response:
    subscription = realtime.subscribe_sync(channel=site.Pipeline(run_id=run_id), topics=["tokens"])
    time.sleep(1)
    return sse_response(subscription)


@app.get("/own/<run_id>/error")
def own_error(run_id: str) -> str:
    site.Pipeline(run_id="a:b")
    raise AssertionError


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
