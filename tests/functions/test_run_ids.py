"""What is published inside a function carries the run's id by itself."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import inngest
import pytest
from inngest.experimental import mocked

from inngest_realtime_core import Realtime
from inngest_realtime_core._api.ids import CurrentRun, current_run, run_id_or_current
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_functions import RealtimeMiddleware
from talk import Pipeline, Status

from .conftest import Stage
from .executor import new_run_id
from .serving import Events

EVENT = inngest.TriggerEvent(event="test/event")


def run_ids(stage: Stage) -> dict[Any, str | None]:
    return {
        message.data["message"] if isinstance(message.data, dict) else message.data: message.run_id
        for message in stage.messages
        if message.kind in ("data", "chunk")
    }


def test_everything_that_an_async_function_publishes(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    async def helper(message: str) -> None:
        await rt.publish(pipeline.status, Status(message=message))

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await helper("outside")
        await asyncio.gather(helper("gathered"), asyncio.create_task(helper("a task")))
        await asyncio.to_thread(rt.publish_sync, pipeline.status, Status(message="a thread"))
        await ctx.step.run("step", helper, "in a step")
        await ctx.group.parallel(
            (lambda: ctx.step.run("a", helper, "parallel a"), lambda: ctx.step.run("b", helper, "parallel b"))
        )
        await ctx.step.run("stream", stream)

    async def stream() -> None:
        await rt.publish_stream(pipeline.tokens, ["streamed"])
        async with rt.batch(pipeline.tokens) as tokens:
            await tokens.send("batched")

    run = stage.play(pipeline, [work])
    assert run.error is None
    published = run_ids(stage)
    assert set(published) == {
        *("outside", "gathered", "a task", "a thread", "in a step", "parallel a", "parallel b", "streamed", "batched")
    }
    assert set(published.values()) == {run.id}


@pytest.mark.parametrize("server", ["fastapi", "flask"])
def test_everything_that_a_sync_function_publishes(
    server: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    def helper(message: str) -> None:
        rt.publish_sync(pipeline.status, Status(message=message))

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> None:
        helper("outside")
        thread = threading.Thread(target=contextvars.copy_context().run, args=[helper, "a thread"])
        thread.start()
        thread.join()
        ctx.step.run("step", helper, "in a step")
        ctx.group.parallel(
            (lambda: ctx.step.run("a", helper, "parallel a"), lambda: ctx.step.run("b", helper, "parallel b"))
        )
        ctx.step.run("stream", stream)

    def stream() -> None:
        rt.publish_stream_sync(pipeline.tokens, ["streamed"])
        with rt.batch_sync(pipeline.tokens) as tokens:
            tokens.send("batched")

    run = stage.play(pipeline, [work], server=server)
    assert run.error is None
    published = run_ids(stage)
    assert set(published) == {
        *("outside", "a thread", "in a step", "parallel a", "parallel b", "streamed", "batched"),
    }
    assert set(published.values()) == {run.id}


def test_an_explicit_run_id_wins(stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline) -> None:
    other = new_run_id()

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish(pipeline.status, Status(message="published"), run_id=other)
        await rt.publish_stream(pipeline.tokens, ["streamed"], run_id=other)
        async with rt.batch(pipeline.tokens, run_id=other) as tokens:
            await tokens.send("batched")

    stage.play(pipeline, [work])
    assert run_ids(stage) == {"published": other, "streamed": other, "batched": other}


def test_functions_at_once_and_one_that_invokes_another_keep_their_own(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    @client.create_function(fn_id="inner", trigger=EVENT)
    async def inner(ctx: inngest.Context) -> str:
        await rt.publish(pipeline.status, Status(message="inner"))
        return ctx.run_id

    @client.create_function(fn_id="outer", trigger=EVENT)
    async def outer(ctx: inngest.Context) -> str:
        inner_id = await ctx.step.invoke("inner", function=inner)
        await rt.publish(pipeline.status, Status(message="outer"))
        return inner_id

    run = stage.play(pipeline, [outer, inner])
    assert run_ids(stage) == {"inner": run.output, "outer": run.id}
    assert run.output != run.id


def test_a_thread_that_served_a_function_belongs_to_no_run_afterwards(
    client: inngest.Inngest, dev: DevServer, rt: Realtime
) -> None:
    seen: list[str | None] = []

    @client.create_function(fn_id="work", trigger=EVENT, retries=0, middleware=[RealtimeMiddleware])
    def work(ctx: inngest.ContextSync) -> None:
        seen.append(run_id_or_current(None))
        raise ValueError

    def serve() -> None:
        outer = current_run.set(CurrentRun("OUTER", serve))
        mocked.trigger(work, inngest.Event(name="test/event"), mocked_client(dev))
        seen.append(run_id_or_current(None))
        current_run.reset(outer)

    contextvars.Context().run(serve)
    assert seen == [None, "OUTER"]


def test_a_run_whose_end_nobody_tells_is_over_with_its_execution() -> None:
    """Another middleware that fails, or a function that exits, keeps Inngest from saying that the run has ended."""

    class Execution: ...

    def serve() -> None:
        execution = Execution()
        current_run.set(CurrentRun("01JDK3V4Q5W6X7Y8Z9ABCDEFGH", execution))
        assert run_id_or_current(None) == "01JDK3V4Q5W6X7Y8Z9ABCDEFGH"
        del execution
        assert run_id_or_current(None) is None

    contextvars.Context().run(serve)


def test_the_run_of_the_test_helper_is_left_out(dev: DevServer, rt: Realtime, pipeline: Pipeline) -> None:
    client = mocked_client(dev)

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> str:
        assert ctx.run_id == "test"
        rt.publish_sync(pipeline.status, Status(message="published"))
        rt.publish_step_sync(ctx, "done", pipeline.status, Status(message="step"))
        return "returned"

    with rt.subscribe_sync(channel=pipeline, topics=["status"]) as stream:
        for _ in range(2):
            result = mocked.trigger(work, inngest.Event(name="test/event"), client)
            assert (result.status, result.output) == (mocked.Status.COMPLETED, "returned")
        messages = [stream.receive(timeout=5) for _ in range(8)]
    # The helper calls the function three times; and all tests of a suite have the same "run".
    data = [message and message.data.message for message in messages]
    assert data == ["published", "published", "step", "published"] * 2
    assert [message and message.run_id for message in messages] == [None] * 8
    assert len({message and message.id for message in messages}) == 8


@pytest.fixture
def event_loop_of_the_thread() -> Iterator[None]:
    """Where there is none, the test helper makes one for each async function, and closes none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("event_loop_of_the_thread")
@pytest.mark.parametrize("stub", [Status(message="stub"), {"message": "stub"}])
def test_a_step_that_the_test_helper_stubs(stub: Any, dev: DevServer, rt: Realtime, pipeline: Pipeline) -> None:
    client = mocked_client(dev)

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> str:
        return (await rt.publish_step(ctx, "done", pipeline.status, Status(message="published"))).message

    @client.create_function(fn_id="work-sync", trigger=EVENT)
    def work_sync(ctx: inngest.ContextSync) -> str:
        return rt.publish_step_sync(ctx, "done", pipeline.status, Status(message="published")).message

    functions: list[inngest.Function[Any]] = [work, work_sync]
    for function in functions:
        result = mocked.trigger(function, inngest.Event(name="test/event"), client, step_stubs={"done": stub})
        assert (result.error, result.output) == (None, "stub")
    assert dev.stats().publishes == 0


def mocked_client(dev: DevServer) -> mocked.Inngest:
    return mocked.Inngest(
        app_id="shop",
        api_base_url=dev.url,
        event_api_base_url=dev.url,
        is_production=False,
        middleware=[RealtimeMiddleware],
    )


async def test_the_middleware_serves_send_and_send_sync() -> None:
    events = Events()
    with events.serve() as url:
        client = inngest.Inngest(
            app_id="shop", event_api_base_url=url, is_production=False, middleware=[RealtimeMiddleware]
        )
        await client.send(inngest.Event(name="async"))
        client.send_sync(inngest.Event(name="sync"))
    assert [event["name"] for event in events.received] == ["async", "sync"]
