"""Whose context things run in: shared work in nobody's, an application's callbacks in their subscriber's."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from typing import Any

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from talk import eventually, soon

request: contextvars.ContextVar[Any] = contextvars.ContextVar("request")


class Request:
    """What a web framework keeps in a context variable while it handles a request."""


async def test_a_connection_keeps_nothing_of_who_came_first(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url) as realtime:

        async def handle() -> weakref.ref[Request]:
            request.set(Request())
            await realtime.get_client_subscription_token(channel=channel, topics=["t"])
            async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
                await server.publish(channel, "t", 1)
                # No deadline here: asyncio keeps a timer that was cancelled, and its context, until it would be due.
                assert (await anext(subscription)).data == 1
            return weakref.ref(request.get())

        kept = await asyncio.create_task(handle())
        assert realtime.stats().sockets == 1  # it lingers

        def gone() -> bool:
            gc.collect()
            return kept() is None

        await eventually(gone)


async def test_callbacks_run_in_the_context_of_their_subscriber(server: DevServer, channel: str) -> None:
    seen: list[tuple[str, str, str]] = []

    async with Realtime(api_base_url=server.url, linger=0) as realtime:

        async def subscribe(who: str) -> Any:
            request.set(who)

            async def on_error(error: Exception) -> None:
                seen.append((who, "error", request.get()))

            return await realtime.subscribe(
                channel=channel,
                topics=["t"],
                on_message=lambda message: seen.append((who, message.kind, request.get())),
                on_error=on_error,
                on_state=lambda state: seen.append((who, state, request.get())),
            )

        first = await asyncio.create_task(subscribe("first"))
        second = await asyncio.create_task(subscribe("second"))
        await server.publish(channel, "t", 1)
        await eventually(lambda: sum(kind == "data" for _, kind, _ in seen) == 2)
        server.drop_connections()
        await eventually(lambda: sum(kind == "gap" for _, kind, _ in seen) == 2)
        await soon(first.close())
        await soon(second.close())
    assert all(who == context for who, _, context in seen)
    assert {kind for _, kind, _ in seen} >= {"data", "gap", "error", "open", "reconnecting", "closed"}
