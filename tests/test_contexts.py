"""Whose context things run in: shared work in nobody's, an application's callbacks in their subscriber's."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from inngest_realtime_core import Grant, Realtime, allow_anyone
from inngest_realtime_core.endpoints import EndpointRequest, Endpoints, asgi
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline, eventually, soon

request: contextvars.ContextVar[Any] = contextvars.ContextVar("request")


class Request:
    """What a web framework keeps in a context variable while it handles a request."""


async def _publish(realtime: Realtime, channel: str) -> None:
    await realtime.publish((channel, "t"), 1)


async def _publish_stream(realtime: Realtime, channel: str) -> None:
    async def parts() -> AsyncIterator[str]:
        assert request.get()  # what the application gives runs in its own context
        yield "a"
        yield "b"

    await realtime.publish_stream((channel, "t"), parts())


async def _batch(realtime: Realtime, channel: str) -> None:
    async with realtime.batch(Pipeline(run_id=channel.replace(":", "-")).tokens, every=20) as batch:
        await batch.send("a")


async def _token(realtime: Realtime, channel: str) -> None:
    await realtime.get_client_subscription_token(channel=channel, topics=["t"])


async def _receive(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await realtime.publish((channel, "t"), 1)
        message = await subscription.receive(timeout=20)
        assert message is not None
        assert message.data == 1


async def _event_stream(realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        stream = subscription.get_event_stream(heartbeat=20)
        await anext(stream)
        await stream.aclose()


async def _response(realtime: Realtime, channel: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await eventually(lambda: any(message.get("body") for message in sent))
        return {"type": "http.disconnect"}

    async def authorize(request: Any, channel: Any) -> bool:
        return True

    endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=authorize, heartbeat=20)])
    answer = await endpoints.stream("pipeline", EndpointRequest("GET", "runId=a", {}, None))
    await asgi.respond(answer, receive, send)
    assert sent[0]["status"] == 200


async def _endpoint_of_threads(realtime: Realtime, channel: str) -> None:
    endpoints = Endpoints(realtime, [Grant(Pipeline, authorize=allow_anyone)])
    answer = await endpoints.token("pipeline", EndpointRequest("GET", "runId=a", {}, None))
    assert answer.status == 200


CALLS = [_publish, _publish_stream, _batch, _token, _receive, _event_stream, _response, _endpoint_of_threads]


async def until_nothing_holds(kept: weakref.ref[Request]) -> None:
    def gone() -> bool:
        gc.collect()
        return kept() is None

    # A timer that was cancelled is kept, and its context, until it would be due: far beyond this.
    await eventually(gone, timeout=4)


@pytest.mark.parametrize("call", CALLS)
async def test_nothing_keeps_who_called(
    server: DevServer, channel: str, call: Callable[[Realtime, str], Awaitable[None]]
) -> None:
    """Neither a connection nor a timer, although both outlive the call."""
    async with Realtime(api_base_url=server.url) as realtime:
        # What is made first is kept; what is used again must not remember its user, either.
        for _ in range(2):

            async def handle() -> weakref.ref[Request]:
                request.set(Request())
                await call(realtime, channel)
                return weakref.ref(request.get())

            await until_nothing_holds(await asyncio.create_task(handle()))


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
