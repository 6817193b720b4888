"""What type checkers infer of publishing inside Inngest functions. Checked, not run."""

from __future__ import annotations

from typing import Any

import inngest
from pydantic import BaseModel
from typing_extensions import assert_type

from inngest_realtime_core import Batch, Channel, Realtime, SyncBatch, topic
from inngest_realtime_functions import RealtimeMiddleware


class Status(BaseModel):
    message: str


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)
    rows = topic(list[int])


client = inngest.Inngest(app_id="shop", middleware=[RealtimeMiddleware])
realtime = Realtime(client)


@client.create_function(fn_id="work", trigger=inngest.TriggerEvent(event="e"), middleware=[RealtimeMiddleware])
async def work(ctx: inngest.Context) -> None:
    ch = Pipeline(run_id=ctx.run_id)
    assert_type(await realtime.publish_step(ctx, "done", ch.status, Status(message="Done")), Status)
    assert_type(await realtime.publish_step(ctx, "text", ch.tokens, "text"), str)
    assert_type(await realtime.publish_step(ctx, "plain", ("channel", "topic"), {"a": 1}), Any)
    assert_type(await realtime.publish_step(ctx, "pair", (ch, Pipeline.status), Status(message="Done")), Status)
    await realtime.publish_step(ctx, "done", ch.status, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await ctx.group.parallel(
        (
            lambda: realtime.publish_step(ctx, "a", ch.tokens, "a"),
            lambda: realtime.publish_step(ctx, "b", ch.tokens, "b"),
        )
    )
    async with realtime.batch(ch.tokens, every=0.05) as tokens:
        assert_type(tokens, Batch[str])
        await tokens.send("text")
        await tokens.send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with realtime.batch(ch.rows) as rows:
        assert_type(rows, Batch[list[int]])
        await rows.send([1, 2])
    assert_type(realtime.batch(("channel", "topic")), Batch[Any])
    assert_type(realtime.batch((ch, Pipeline.tokens)), Batch[str])
    realtime.batch(ch.status)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]


@client.create_function(fn_id="work-sync", trigger=inngest.TriggerEvent(event="e"))
def work_sync(ctx: inngest.ContextSync) -> None:
    ch = Pipeline(run_id=ctx.run_id)
    assert_type(realtime.publish_step_sync(ctx, "done", ch.status, Status(message="Done")), Status)
    with realtime.batch_sync(ch.tokens) as tokens:
        assert_type(tokens, SyncBatch[str])
        assert_type(realtime.batch_sync(("channel", "topic")), SyncBatch[Any])
        tokens.send("text")
