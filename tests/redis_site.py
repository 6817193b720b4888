"""A Starlette application that keeps what clients missed in the Redis of `REDIS_URL`. Imported by server processes."""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_redis import RedisReplay
from inngest_realtime_starlette import realtime_routes


class Room(Channel, name="room:{id}"):
    id: str
    events = topic(Any)


realtime = Realtime(replay=RedisReplay(os.environ["REDIS_URL"]))


async def stats(request: Request) -> JSONResponse:
    return JSONResponse({"channels": realtime.stats().channels})


routes = realtime_routes(realtime, [Grant(Room, topics=["events"], authorize=allow_anyone)])
app = Starlette(routes=[Route("/stats", stats), Mount("/api/realtime", routes=routes)])
