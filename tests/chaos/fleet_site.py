"""The application of a fleet. Imported by its worker processes.

What clients missed is kept in the Redis of `REDIS_URL`, or without it in the process. `POST /publish` publishes.
"""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from inngest_realtime_core import Channel, Grant, Realtime, Replay, allow_anyone, topic
from inngest_realtime_redis import RedisReplay
from inngest_realtime_starlette import realtime_routes


class Room(Channel, name="fleet:{id}"):
    id: str
    a = topic(dict[str, Any])
    b = topic(dict[str, Any])


url = os.environ.get("REDIS_URL")
realtime = Realtime(replay=RedisReplay(url) if url else Replay(), ping_interval=0.5, ping_timeout=2.0)


async def stats(request: Request) -> JSONResponse:
    return JSONResponse({"pid": os.getpid(), "channels": realtime.stats().channels})


async def publish(request: Request) -> JSONResponse:
    query = request.query_params
    room = Room(id=query["id"])
    await realtime.publish((room, query["topic"]), {"n": int(query["n"])}, id=query["n"])
    return JSONResponse({})


routes = realtime_routes(realtime, [Grant(Room, topics=["a", "b"], authorize=allow_anyone)])
app = Starlette(
    routes=[
        Route("/stats", stats),
        Route("/publish", publish, methods=["POST"]),
        Mount("/api/realtime", routes=routes),
    ]
)
