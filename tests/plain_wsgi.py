"""Encoded streams in responses that no adapter has made: imported by the servers' own processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response

from inngest_realtime_core import Realtime

realtime = Realtime()
app = Flask(__name__)


@app.get("/encoded")
def encoded() -> Response:
    subscription = realtime.subscribe_sync(channel="plain", topics=["t"])
    return Response(subscription.get_encoded_stream(), mimetype="text/event-stream")


@app.get("/stats")
def stats() -> dict[str, Any]:
    return {"subscriptions": realtime.stats().subscriptions}


def bare(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The same without a framework."""
    if environ["PATH_INFO"] != "/encoded":
        return app(environ, start_response)
    subscription = realtime.subscribe_sync(channel="plain", topics=["t"])
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return subscription.get_encoded_stream()
