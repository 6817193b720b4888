"""The callback form of subscribing, and what is told of states and errors, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from inngest_realtime_core import (
    AuthenticationError,
    Channel,
    Gap,
    Message,
    Realtime,
    Subscription,
    SubscriptionClosedError,
    topic,
)
from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_core.subscriptions import callbacks
from inngest_realtime_devserver.server import DevServer
from talk import eventually, receive, soon


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_callbacks(realtime: Realtime, channel: str, asynchronous: bool) -> None:
    seen: list[Any] = []
    errors: list[Exception] = []

    def handle(message: Message[Any]) -> None:
        seen.append(message.data)
        if message.data == 1:
            raise ValueError("the application's mistake")

    async def handle_async(message: Message[Any]) -> None:
        await asyncio.sleep(0)
        handle(message)

    async def report_async(error: Exception) -> None:
        await asyncio.sleep(0)
        errors.append(error)

    subscription = await realtime.subscribe(
        channel=channel,
        topics=["t"],
        on_message=handle_async if asynchronous else handle,
        on_error=report_async if asynchronous else errors.append,
    )
    for number in range(3):
        await realtime.publish((channel, "t"), number)
    await eventually(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]
    assert [str(error) for error in errors] == ["the application's mistake"]
    with pytest.raises(SubscriptionClosedError, match="on_message"):
        await anext(subscription)
    await subscription.close()
    await realtime.publish((channel, "t"), 3)
    assert seen == [0, 1, 2]


async def test_callbacks_live_on_without_the_subscription(realtime: Realtime, channel: str) -> None:
    seen: list[Any] = []
    await realtime.subscribe(channel=channel, topics=["t"], on_message=lambda message: seen.append(message.data))
    gc.collect()
    await realtime.publish((channel, "t"), 1)
    await eventually(lambda: seen == [1])


async def test_failures_of_callbacks_are_logged_where_nobody_else_is_told(
    realtime: Realtime, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ValueError("from a callback")

    async with realtime.subscribe(channel=channel, topics=["t"], on_message=fail):
        await realtime.publish((channel, "t"), 1)
        await eventually(lambda: "from a callback" in caplog.text)
    caplog.clear()
    async with realtime.subscribe(channel=channel, topics=["t"], on_message=fail, on_error=fail):
        await realtime.publish((channel, "t"), 1)
        await eventually(lambda: "on_error itself failed" in caplog.text)


async def test_a_slow_on_error_is_told_one_after_the_other_and_not_without_end(
    realtime: Realtime, channel: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ThrottledLog(logging.getLogger("inngest_realtime.subscription"))
    monkeypatch.setattr(callbacks, "_log", log)

    class Typed(Channel, name="typed:{key}"):
        key: str
        t = topic(int)

    told: list[str] = []
    going_on = asyncio.Event()

    async def slowly(error: Exception) -> None:
        told.append(str(error))
        await going_on.wait()

    typed = Typed(key=channel.replace(":", "-"))
    async with realtime.subscribe(channel=typed, on_error=slowly) as subscription:
        for _ in range(150):
            await realtime.publish((typed.name, "t"), "no number")
        await realtime.publish((typed.name, "t"), 1)
        assert await receive(subscription, 1) == [1]
        assert len(told) == 1
        assert sum(task.get_name() == "inngest-realtime on_error" for task in asyncio.all_tasks()) == 1
        going_on.set()
        await eventually(lambda: len(told) == 101)
    # One line in a while says that, and how many there were.
    assert sum("on_error is too slow" in record.getMessage() for record in caplog.records) <= 2
    assert any(left_out in (48, 47) for _, left_out in log._written.values())


async def test_a_callback_may_close_its_subscription(realtime: Realtime, channel: str) -> None:
    closed = asyncio.Event()
    subscriptions: list[Subscription] = []

    async def handle(_: Message[Any]) -> None:
        await subscriptions[0].close("had enough")
        closed.set()

    subscriptions.append(await realtime.subscribe(channel=channel, topics=["t"], on_message=handle))
    await realtime.publish((channel, "t"), 1)
    await soon(closed.wait())
    await eventually(lambda: realtime.stats().channels == 0)


async def test_states(server: DevServer, realtime: Realtime, channel: str) -> None:
    states: list[str] = []
    async with realtime.subscribe(channel=channel, topics=["t"], on_state=states.append) as subscription:
        server.drop_connections()
        await eventually(lambda: states == ["connecting", "open", "reconnecting", "open"])
        assert subscription.state == "open"
    assert states == ["connecting", "open", "reconnecting", "open", "closed"]


async def test_states_of_what_can_not_be_had(server: DevServer, realtime: Realtime, channel: str) -> None:
    states: list[str] = []
    server.reject_tokens(401)
    with pytest.raises(AuthenticationError):
        await realtime.subscribe(channel=channel, topics=["t"], on_state=states.append)
    assert states == ["connecting", "closed"]


async def test_a_failing_on_state_harms_nobody(
    server: DevServer,
    realtime: Realtime,
    channel: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "_log", ThrottledLog(logging.getLogger("inngest_realtime.subscription")))

    def fail(state: str) -> None:
        raise ValueError(state)

    async with realtime.subscribe(channel=channel, topics=["t"], on_state=fail) as subscription:
        server.drop_connections()
        assert await receive(subscription, 1) == [Gap("reconnect", None)]
        await realtime.publish((channel, "t"), 1)
        assert await receive(subscription, 1) == [1]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"on_state failed on {state!r}; the traceback says where."
        for state in ("connecting", "open", "reconnecting", "closed")  # `open` came twice within a while
    ]


async def test_states_when_all_is_closed(server: DevServer, channel: str) -> None:
    states: list[str] = []
    async with Realtime(api_base_url=server.url) as realtime:
        subscription = await realtime.subscribe(channel=channel, topics=["t"], on_state=states.append)
    assert states == ["connecting", "open", "closed"]
    assert subscription.state == "closed"
