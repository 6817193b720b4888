"""What every application of the suite serves, whatever its framework: imported by the servers' own processes.

An application has a `new_realtime()`, mounts the adapter's endpoints with `grants(...)` and `options()` under
`/api/realtime`, and answers `GET /stats` with the JSON of `stats(realtime)`. It has routes of its own, made with the
adapter's helpers:

| route | answers |
|---|---|
| `/own/{run_id}/token` | the token that `subscription_token(realtime, PIPELINE)` hands over |
| `/own/{run_id}/stream` | the events of what `subscription_stream(realtime, HISTORY)` hands over; `send_timeout()` |
| `/own/{run_id}/iterated` | the events of the messages of what `subscription_stream(realtime, HISTORY)` hands over |
| `/own/{run_id}/rendered` | the same as `stream`, as HTML: the response is given `render=fragment` |
| `/own/{run_id}/other/token`, `.../other/stream` | the same of the other kind of view, async or sync |
| `/own/{run_id}/response` | the event stream of a subscription that it opens itself, a second after it did so |
| `/own/{run_id}/error` | nothing: a `ChannelError` is raised, by a value that holds a separator |
"""

from __future__ import annotations

import asyncio
import dataclasses
import html
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from pydantic import BaseModel

from inngest_realtime_core import Subscription, SyncSubscription
from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone
from inngest_realtime_core.realtime import Realtime

PREFIX = "/api/realtime"


def new_realtime() -> Realtime:
    """The application's, as the test wants it for this process."""
    url = os.environ.get("CONFORMANCE_REDIS")
    if url is None:
        return Realtime()
    from inngest_realtime_redis import RedisReplay

    return Realtime(replay=RedisReplay(url))


class Status(BaseModel):
    message: str
    step: str | None = None


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(Any)
    audit = topic(Any)  # declared, and never granted


class Room(Channel, name="room:{org_id}:{number}"):
    org_id: str
    number: int
    events = topic(Any)


class Fleeting(Channel, name="fleeting:{until}"):
    until: int  # the Unix time, in milliseconds, until which one may listen
    ticks = topic(Any)


def may_view(request: Any, channel: Pipeline) -> bool:
    return request.headers.get("x-user") != "stranger"


async def may_enter(request: Any, channel: Room) -> bool:
    await asyncio.sleep(0)
    return request.headers.get("x-user") == "member"


def may_listen(request: Any, channel: Fleeting) -> bool:
    return time.time() * 1000 < channel.until


def forgets(request: Any, channel: Room) -> Any:
    return "yes"


def breaks(request: Any, channel: Room) -> bool:
    raise RuntimeError("a private detail")


PIPELINE = Grant(Pipeline, ["status", "tokens"], authorize=may_view)
HISTORY = Grant(Pipeline, ["status", "tokens"], authorize=may_view, name="history", rewind="all")

fragments_made = 0


def fragment(message: Any) -> str | None:
    """A row of a table, escaped; nothing for a status."""
    global fragments_made
    fragments_made += 1
    if message.topic == "status":
        return None
    return f"<li>\n{html.escape(str(message.data))}\r\n</li>"


async def iterated(stream: Subscription) -> AsyncIterator[bytes]:
    """What an application writes that makes its events itself."""
    try:
        async for message in stream:
            yield message.to_event()
    finally:
        stream.close()


def iterated_sync(stream: SyncSubscription) -> Iterator[bytes]:
    with stream:
        for message in stream:
            yield message.to_event()


def slow(request: Any, channel: Room) -> bool:
    time.sleep(float(request.headers["x-sleep"]))
    return True


async def slow_async(request: Any, channel: Room) -> bool:
    await asyncio.sleep(float(request.headers["x-sleep"]))
    return True


def whose(request: Any) -> str | None:
    """The `client=` of the options."""
    return request.headers.get("x-client")


def by_header(request: Any) -> str | None:
    return request.headers.get("x-user")


def grants(http_error: Callable[[int], Exception], user: Callable[[Any], str | None] = by_header) -> list[Grant]:
    """The grants.

    Args:
        http_error: Makes the framework's own exception for an HTTP status.
        user: The user of a request, as applications of the framework find it: in its context, which something before
            the endpoints has filled from the header `x-user`.
    """

    def refuses(request: Any, channel: Room) -> bool:
        raise http_error(451)

    def is_member(request: Any, channel: Fleeting) -> bool:
        return user(request) == "member" and may_listen(request, channel)

    async def is_member_async(request: Any, channel: Fleeting) -> bool:
        await asyncio.sleep(0)
        return is_member(request, channel)

    return [
        PIPELINE,
        Grant(Pipeline, ["status", "tokens"], authorize=may_view, name="rendered", render=fragment),
        Grant(Pipeline, ["tokens"], authorize=may_view, name="full", token="full"),
        Grant(Pipeline, ["status", "tokens"], authorize=may_view, name="recent", rewind=3, rewind_default=2),
        HISTORY,
        Grant(Room, authorize=slow, name="slow"),
        Grant(Room, authorize=slow_async, name="slow-async"),
        Grant(Room, authorize=may_enter, extra_parameters=["access_token"]),
        Grant(Fleeting, authorize=may_listen, reauthorize_every=0.1),
        Grant(Fleeting, authorize=is_member, reauthorize_every=0.1, name="member"),
        Grant(Fleeting, authorize=is_member_async, reauthorize_every=0.1, name="member-async"),
        Grant("many", [f"topic-{number}" for number in range(500)], authorize=allow_anyone),
        Grant("news", ["headline"], authorize=allow_anyone, heartbeat=0.2),
        Grant(Room, authorize=forgets, name="forgetful"),
        Grant(Room, authorize=breaks, name="broken"),
        Grant(Room, authorize=refuses, name="refusing"),
    ]


def options() -> dict[str, Any]:
    """The adapter's options, as the test wants them for this process."""
    max_streams = os.environ.get("CONFORMANCE_MAX_STREAMS")
    options: dict[str, Any] = {
        "heartbeat": float(os.environ.get("CONFORMANCE_HEARTBEAT", "10")),
        "max_streams": None if max_streams is None else int(max_streams),
        "client": whose,
    }
    for name in ("send_timeout", "authorize_timeout", "rate_per_client"):
        if (value := os.environ.get(f"CONFORMANCE_{name.upper()}")) is not None:
            options[name] = float(value)
    for name in ("burst_per_client", "max_channel_length"):
        if (value := os.environ.get(f"CONFORMANCE_{name.upper()}")) is not None:
            options[name] = int(value)
    return options


def send_timeout() -> float:
    """The `send_timeout` of the event streams in an application's own routes."""
    return float(os.environ.get("CONFORMANCE_SEND_TIMEOUT", "30"))


# Threads that a framework or a server keeps for requests to come: as many as had to work at the same time so far.
_POOLS = ("AnyIO worker thread", "ThreadPoolExecutor-", "asyncio_")


def stats(realtime: Realtime) -> dict[str, Any]:
    """What this process holds at the moment; `pooled` are those of its `threads` that belong to a pool."""
    return {
        **dataclasses.asdict(realtime.stats()),
        "pid": os.getpid(),
        "fragments": fragments_made,
        "threads": threading.active_count(),
        "pooled": sum(thread.name.startswith(_POOLS) for thread in threading.enumerate()),
    }
