"""What type checkers see of publishing and subscribing. Checked, never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Literal

import inngest
from pydantic import BaseModel
from typing_extensions import TypedDict, assert_type

from inngest_realtime_core import (
    Channel,
    ClientSubscriptionToken,
    DataStream,
    Gap,
    GapReason,
    Message,
    Realtime,
    State,
    Stats,
    Subscription,
    SyncSubscription,
    get_client_subscription_token,
    get_client_subscription_token_sync,
    subscribe,
    subscribe_sync,
    topic,
)
from inngest_realtime_devserver.testing import receive, receive_sync


class Status(BaseModel):
    message: str


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)
    anything = topic()


class Point(TypedDict):
    x: int


class Displays(Channel, name="displays"):
    point = topic(Point)
    scores = topic(list[float])
    table = topic(dict[str, float | str])
    level = topic(Literal["low", "high"])
    step = topic(str | None)


async def subscribing(realtime: Realtime, app: inngest.Inngest) -> None:
    channel = Pipeline(run_id="r")
    subscription = await realtime.subscribe(channel=channel, topics=["status", Pipeline.tokens, channel.anything])
    assert_type(subscription, Subscription)
    assert_type(subscription.state, State)
    async for message in subscription:
        assert_type(message, Message[Any])
        if channel.status.matches(message):
            assert_type(message, Message[Status])
            assert_type(message.data, Status)
        if Pipeline.tokens.matches(message):
            assert_type(message.data, str)
        if isinstance(message.data, Gap):
            assert_type(message.data, Gap)
            assert_type(message.data.missed, int | None)
        match message.data:
            case Gap(reason=reason):
                assert_type(reason, GapReason)
            case _:
                pass
        if message.kind == "gap":
            assert_type(message.stream, DataStream | None)
        assert_type(message.metadata, Mapping[str, Any] | None)
    assert_type(Message.gap("c", "reconnect"), Message[Gap])
    assert_type(await anext(subscription), Message[Any])
    assert_type(subscription.get_json_stream(), AsyncGenerator[Message[Any], None])
    assert_type(subscription.get_encoded_stream(heartbeat=None), AsyncGenerator[bytes, None])
    assert_type(subscription.get_event_stream(), AsyncGenerator[bytes, None])
    assert_type(await subscription.close("done"), None)
    assert_type(await receive(subscription, 2), list[Message[Any]])
    assert_type(realtime.stats(), Stats)

    async with realtime.subscribe(channel="plain", topics=["t"]) as opened:
        assert_type(opened, Subscription)
    async with subscribe(app=app, channel=channel, key="k", api_base_url="https://example.com") as opened:
        assert_type(opened, Subscription)
    async with subscribe(app=realtime, channel=channel) as opened:
        assert_type(opened, Subscription)

    # It is accepted wherever an awaitable is, and refused where it was to be awaited.
    first, second = await asyncio.gather(realtime.subscribe(channel=channel), realtime.subscribe(channel=channel))
    assert_type((first, second), tuple[Subscription, Subscription])
    assert_type(await asyncio.wait_for(realtime.subscribe(channel=channel), 5), Subscription)
    assert_type(asyncio.create_task(realtime.subscribe(channel=channel)), asyncio.Task[Subscription])
    async for _ in realtime.subscribe(channel=channel):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    realtime.subscribe(channel=channel).get_json_stream()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    # A wrong name is caught where topics are objects; among texts only at runtime.
    await realtime.subscribe(channel=channel, topics=[Pipeline.statuses])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await realtime.subscribe(channel=channel, topics=[channel.status, Pipeline.tokens])
    subscribe(channel=channel, topics=[3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def callbacks(realtime: Realtime) -> None:
    def on_message(message: Message[Any]) -> None: ...
    async def on_message_async(message: Message[Any]) -> None: ...
    def on_error(error: Exception) -> None: ...
    async def on_error_async(error: Exception) -> None: ...
    def on_state(state: State) -> None: ...
    def on_text(message: str) -> None: ...

    await realtime.subscribe(channel="c", topics=["t"], on_message=on_message, on_error=on_error, on_state=on_state)
    await realtime.subscribe(channel="c", topics=["t"], on_message=on_message_async, on_error=on_error_async)
    await realtime.subscribe(channel="c", topics=["t"], on_message=lambda message: print(message.data))
    await realtime.subscribe(
        channel="c",
        topics=["t"],
        on_message=on_text,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    )


def sync(realtime: Realtime, app: inngest.Inngest) -> None:
    channel = Pipeline(run_id="r")
    for message in realtime.subscribe_sync(channel=channel):
        if channel.status.matches(message):
            assert_type(message.data, Status)
    with subscribe_sync(app=app, channel=channel) as subscription:
        assert_type(subscription, SyncSubscription)
        assert_type(subscription.receive(timeout=1.0), Message[Any] | None)
        assert_type(subscription.get_json_stream(), Generator[Message[Any], None, None])
        assert_type(subscription.get_encoded_stream(), Generator[bytes, None, None])
        assert_type(receive_sync(subscription, 1), list[Message[Any]])
    assert_type(get_client_subscription_token_sync(app, channel=channel), ClientSubscriptionToken)


async def publishing(realtime: Realtime) -> None:
    channel = Pipeline(run_id="r")
    await realtime.publish(channel.status, Status(message="hi"), run_id="r", metadata={"k": 1})
    await realtime.publish(channel.tokens, "hi")
    await realtime.publish(channel.anything, object())
    await realtime.publish((channel, "status"), {"message": "hi"})
    await realtime.publish((channel, Pipeline.status), Status(message="hi"))
    await realtime.publish(("plain", "t"), 1)
    realtime.publish_sync(channel.status, Status(message="hi"))

    # A display takes the topic's type, for both checkers.
    displays = Displays()
    await realtime.publish(displays.point, {"x": 1})
    await realtime.publish(displays.scores, [1, 2])
    await realtime.publish(displays.table, {})
    await realtime.publish(displays.level, "low")
    await realtime.publish(displays.step, None)
    await realtime.publish(("plain", Displays.point), {"x": 1})
    await realtime.publish((displays, displays.scores), [1])
    realtime.publish_sync(displays.point, {"x": 1})
    realtime.publish_sync(displays.scores, [1, 2])
    await realtime.publish(displays.point, {"y": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish(displays.scores, ["a"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish(displays.level, "other")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish((displays, Displays.level), 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish(displays.level, lambda: None)  # type: ignore[arg-type,misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish(Displays.level, "low")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish("plain:t", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await realtime.publish_stream(channel.tokens, ["a"])
    realtime.publish_stream_sync(channel.tokens, iter("ab"))

    async def chunks() -> AsyncGenerator[str, None]:
        yield "a"

    await realtime.publish_stream(("plain", "t"), chunks())
    await realtime.publish(channel.tokens, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    realtime.publish_sync(channel.tokens, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def tokens(realtime: Realtime, app: inngest.Inngest) -> None:
    token = await realtime.get_client_subscription_token(channel=Pipeline(run_id="r"), topics=[Pipeline.status])
    assert_type(token, ClientSubscriptionToken)
    assert_type(token.to_dict(), dict[str, str])
    assert_type(token.to_dict(full=True), dict[str, Any])
    assert_type((token["key"], token.channel, token.topics), tuple[str, str, tuple[str, ...]])
    await realtime.subscribe(channel="c", topics=["t"], token=token, rewind="all")
    await realtime.subscribe(channel="c", token=token.to_dict(), rewind=5)
    with realtime.override(api_base_url="http://127.0.0.1:1") as same:
        assert_type(same, Realtime)
    assert_type(await get_client_subscription_token(app, channel="c", topics=["t"]), ClientSubscriptionToken)
    assert_type(await get_client_subscription_token(realtime, channel="c", topics=["t"]), ClientSubscriptionToken)
