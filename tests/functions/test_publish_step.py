"""Publishing as a step: once for each run, whatever is retried."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import inngest
import pytest
from pydantic import BaseModel, Field, field_serializer

from inngest_realtime_core import Channel, Realtime, topic
from inngest_realtime_core._api.payload import encode_payload
from inngest_realtime_functions import RealtimeMiddleware
from talk import Pipeline, Status

from .conftest import Stage
from .executor import new_run_id

EVENT = inngest.TriggerEvent(event="test/event")
Figures = Callable[[inngest.Inngest, Realtime, Pipeline], inngest.Function[Any]]


def failing_once(rt: Realtime, ch: Pipeline) -> Callable[[], Awaitable[None]]:
    attempts = itertools.count()

    async def fails_once() -> None:
        await rt.publish(ch.status, Status(message="in the failing step"))
        if next(attempts) == 0:
            raise ValueError("the first attempt fails")

    return fails_once


async def works() -> None: ...


def in_sequence(client: inngest.Inngest, rt: Realtime, ch: Pipeline) -> inngest.Function[Any]:
    fails_once = failing_once(rt, ch)

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish(ch.status, Status(message="outside of steps"))
        await ctx.step.run("collect", works)
        await ctx.step.run("analyse", fails_once)
        await ctx.step.run("write", works)
        await rt.publish_step(ctx, "done", ch.status, Status(message="publish_step"))

    return work


def in_parallel(client: inngest.Inngest, rt: Realtime, ch: Pipeline) -> inngest.Function[Any]:
    fails_once = failing_once(rt, ch)

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish(ch.status, Status(message="outside of steps"))
        await ctx.group.parallel(
            (
                lambda: ctx.step.run("collect", works),
                lambda: ctx.step.run("analyse", fails_once),
                lambda: ctx.step.run("write", works),
                lambda: rt.publish_step(ctx, "done", ch.status, Status(message="publish_step")),
            )
        )

    return work


def two_in_parallel(client: inngest.Inngest, rt: Realtime, ch: Pipeline) -> inngest.Function[Any]:
    fails_once = failing_once(rt, ch)

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish(ch.status, Status(message="outside of steps"))
        await ctx.group.parallel((lambda: ctx.step.run("collect", works), lambda: ctx.step.run("analyse", fails_once)))
        await ctx.step.run("write", works)
        await rt.publish_step(ctx, "done", ch.status, Status(message="publish_step"))

    return work


def in_sequence_sync(client: inngest.Inngest, rt: Realtime, ch: Pipeline) -> inngest.Function[Any]:
    attempts = itertools.count()

    def fails_once() -> None:
        rt.publish_sync(ch.status, Status(message="in the failing step"))
        if next(attempts) == 0:
            raise ValueError("the first attempt fails")

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> None:
        rt.publish_sync(ch.status, Status(message="outside of steps"))
        ctx.step.run("collect", lambda: None)
        ctx.step.run("analyse", fails_once)
        ctx.step.run("write", lambda: None)
        rt.publish_step_sync(ctx, "done", ch.status, Status(message="publish_step"))

    return work


def two_in_parallel_sync(client: inngest.Inngest, rt: Realtime, ch: Pipeline) -> inngest.Function[Any]:
    attempts = itertools.count()

    def fails_once() -> None:
        rt.publish_sync(ch.status, Status(message="in the failing step"))
        if next(attempts) == 0:
            raise ValueError("the first attempt fails")

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> None:
        rt.publish_sync(ch.status, Status(message="outside of steps"))
        ctx.group.parallel((lambda: ctx.step.run("collect", lambda: None), lambda: ctx.step.run("analyse", fails_once)))
        ctx.step.run("write", lambda: None)
        rt.publish_step_sync(ctx, "done", ch.status, Status(message="publish_step"))

    return work


@pytest.mark.parametrize(
    ("make", "server", "always_plans", "outside"),
    [
        (in_sequence, "fastapi", True, 6),
        (in_sequence_sync, "fastapi", True, 6),
        (in_sequence_sync, "flask", True, 6),
        (in_parallel, "fastapi", True, 7),
        (two_in_parallel, "fastapi", True, 9),
        (two_in_parallel, "fastapi", False, 7),
        (two_in_parallel_sync, "flask", True, 9),
        (two_in_parallel_sync, "fastapi", True, 9),
    ],
)
def test_how_often_each_way_to_publish_arrives(
    make: Figures,
    server: str,
    always_plans: bool,
    outside: int,
    stage: Stage,
    rt: Realtime,
    client: inngest.Inngest,
    pipeline: Pipeline,
) -> None:
    run = stage.play(pipeline, [make(client, rt, pipeline)], server=server, always_plans=always_plans)
    assert run.error is None
    arrived = Counter(message.data["message"] for message in stage.messages)
    assert arrived == {"outside of steps": outside, "in the failing step": 2, "publish_step": 1}
    assert run.requests == outside


@pytest.mark.parametrize("server", ["fastapi", "flask"])
def test_a_step_whose_report_was_lost_is_delivered_once(
    server: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> None:
        for number in range(3):
            rt.publish_step_sync(ctx, "line", pipeline.status, Status(message=f"line {number}"))
        rt.publish_step_sync(ctx, "i" * 300, pipeline.status, Status(message="a long id"))

    run = stage.play(pipeline, [work], server=server, lost=["line", "line", "i" * 300])
    assert run.error is None
    assert stage.published == 7, "Inngest, and with it other subscribers, got three of them twice"
    assert [message.data["message"] for message in stage.messages] == ["line 0", "line 1", "line 2", "a long id"]
    ids = [message.id for message in stage.messages]
    assert ids[:3] == [f"{run.id}.0.line", f"{run.id}.1.line", f"{run.id}.2.line"]
    assert ids[3] is not None
    assert ids[3].startswith(f"{run.id}.0.")
    assert len(ids[3]) < 200
    assert {message.run_id for message in stage.messages} == {run.id}


def test_steps_in_parallel_with_equal_ids_whose_reports_were_lost(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> list[str]:
        def publish(message: str) -> Callable[[], Any]:
            return lambda: rt.publish_step(ctx, "line", pipeline.status, Status(message=message))

        done = await ctx.group.parallel((publish("a"), publish("b"), publish("c")))
        return [status.message for status in done]

    run = stage.play(pipeline, [work], lost=["line", "line", "line"])
    assert run.output == ["a", "b", "c"]
    assert sorted(message.data["message"] for message in stage.messages) == ["a", "b", "c"]
    assert stage.published == 6


@pytest.mark.parametrize("server", ["fastapi", "flask"])
def test_branches_of_different_length_whose_steps_have_ids_of_their_own(
    server: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> list[str]:
        def branch(name: str, length: int) -> Callable[[], str]:
            def steps() -> str:
                return "".join(
                    rt.publish_step_sync(ctx, f"{name}{number}", pipeline.tokens, f"{name}{number} ")
                    for number in range(length)
                )

            return steps

        return list(ctx.group.parallel((branch("a", 1), branch("b", 3), branch("c", 2))))

    names = ["a0", "b0", "b1", "b2", "c0", "c1"]
    run = stage.play(pipeline, [work], server=server, lost=names)
    assert run.output == ["a0 ", "b0 b1 b2 ", "c0 c1 "]
    assert sorted(message.data for message in stage.messages) == [f"{name} " for name in names]
    assert stage.published == 12, "each of them was published twice"


def test_two_runs_are_two(stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline) -> None:
    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish_step(ctx, "done", pipeline.status, Status(message="Done"))

    first = stage.play(pipeline, [work])
    (one,) = stage.messages
    stage.play(pipeline, [work])
    (other,) = stage.messages
    assert one.id == f"{first.id}.0.done" != other.id


def test_it_returns_what_was_published_and_shows_it_on_the_dashboard(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    calls = itertools.count()

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> Any:
        status = await rt.publish_step(ctx, "status", pipeline.status, Status(message=f"call {next(calls)}"))
        assert isinstance(status, Status)
        text = await rt.publish_step(ctx, "text", pipeline.tokens, f"call {next(calls)}", metadata={"page": 1})
        plain = await rt.publish_step(ctx, "plain", (pipeline.name, "status"), {"message": 2.5})
        return [status.message, text, plain]

    run = stage.play(pipeline, [work])
    # Each call of the function makes other data; what counts is what was published.
    assert run.output == ["call 0", "call 2", {"message": 2.5}]
    assert run.displayed == {
        "status": [{"message": "call 0", "step": None}],
        "text": ["call 2"],
        "plain": [{"message": 2.5}],
    }
    arrived = sorted((message.topic, str(message.data), message.metadata) for message in stage.messages)
    assert arrived == [
        ("status", "{'message': 'call 0', 'step': None}", None),
        ("status", "{'message': 2.5}", None),
        ("tokens", "call 2", {"page": 1}),
    ]


def test_what_is_published_is_what_is_returned(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    """Data is encoded once, also when that gives something else each time."""
    made = itertools.count()

    class Stamped(BaseModel):
        at: int = Field(default_factory=lambda: next(made))

    class Stamps(Channel, name="stamps:{key}"):
        key: str
        status = topic(Stamped)

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> Any:
        data: Any = {}
        stamped = await rt.publish_step(ctx, "status", (pipeline.name, Stamps.status), data)
        return stamped.at

    run = stage.play(pipeline, [work])
    (message,) = stage.messages
    assert run.output == message.data["at"]


def test_a_memo_that_the_topic_no_longer_takes_does_not_end_the_run(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> str:
        # The first call is that of a release in which the topic had no type.
        topic: Any = (pipeline.name, "status") if ctx.attempt == 0 and not released else pipeline.status
        released.append(True)
        status = await rt.publish_step(ctx, "status", topic, Status(message="Done") if len(released) > 1 else "Done")
        return str(status.message)

    released: list[bool] = []
    assert stage.play(pipeline, [work]).output == "Done"


class Aliased(BaseModel):
    message: str = Field(serialization_alias="text")


class Excluding(BaseModel):
    message: str
    secret: str = Field(exclude=True)


class Forgetting(BaseModel):
    message: str
    secret: str = Field(default="none", exclude=True)


class Serialized(BaseModel):
    message: str

    @field_serializer("message")
    def in_parts(self, message: str) -> list[str]:
        return message.split()


class Doubling(BaseModel):
    message: str

    @field_serializer("message")
    def twice(self, message: str) -> str:
        return message * 2


class Models(Channel, name="{prefix}:{key}"):
    prefix: str
    key: str
    aliased = topic(Aliased)
    excluding = topic(Excluding)
    forgetting = topic(Forgetting)
    serialized = topic(Serialized)
    doubling = topic(Doubling)
    given = topic(dict[str, Forgetting])


def model(name: str, message: str) -> Any:
    """Data for a topic of `Models`, and what is to be returned for it."""
    return {
        "aliased": (Aliased(message=message), Aliased(message=message)),
        "excluding": (Excluding(message=message, secret="s"), Excluding(message=message, secret="s")),
        "forgetting": (Forgetting(message=message, secret="s"), Forgetting(message=message)),
        "serialized": ({"message": message}, Serialized(message=message)),
        "doubling": (Doubling(message=message), Doubling(message=message * 2)),
        "given": ({"a": {"message": message}}, {"a": Forgetting(message=message)}),
    }[name]


@pytest.mark.parametrize("server", ["fastapi", "flask"])
@pytest.mark.parametrize("name", list(Models.topics()))
def test_each_attempt_returns_the_same(
    name: str, server: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    returned: list[Any] = []
    data, expected = model(name, "Done")
    target: Any = (pipeline.name, getattr(Models, name))

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> None:
        returned.append(rt.publish_step_sync(ctx, "done", target, data))
        ctx.step.run("work", lambda: None)
        if ctx.attempt == 0:
            raise ValueError("the function is run again")

    stage.play(pipeline, [work], server=server, topics=[name])
    assert returned == [expected] * 3
    assert [message.data for message in stage.messages] == [
        json.loads(encode_payload(data, getattr(Models, name).adapter))
    ]


@pytest.mark.parametrize("name", list(Models.topics()))
def test_each_attempt_returns_what_was_published_also_when_its_data_is_other(
    name: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    calls = itertools.count()
    returned: list[Any] = []
    target: Any = (pipeline.name, getattr(Models, name))

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        data, _ = model(name, f"call {next(calls)}")
        returned.append(await rt.publish_step(ctx, "done", target, data))
        await ctx.step.run("work", works)

    stage.play(pipeline, [work], topics=[name])
    published = stage.messages[0].data
    _, first = model(name, "call 0")
    assert returned == [published if name in ("aliased", "excluding", "serialized") else first] * 2


WRONG_ARGUMENTS: dict[str, tuple[Any, dict[str, Any], str]] = {
    **{f"id {value!r}": (value, {}, "id is ") for value in (None, 5, b"done", "", ["done"], {})},
    "id of a surrogate": ("\ud800", {}, "lone surrogate"),
    "metadata": ("done", {"metadata": "x"}, "metadata must be a mapping"),
    "long metadata": ("done", {"metadata": {"a": "x" * 70_000}}, "65,536 can be sent"),
}


@pytest.mark.parametrize("server", ["fastapi", "flask"])
@pytest.mark.parametrize("wrong", WRONG_ARGUMENTS)
def test_arguments_of_the_wrong_kind_end_the_run_at_once(
    wrong: str, server: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    step_id, options, says = WRONG_ARGUMENTS[wrong]

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish_step(ctx, step_id, pipeline.status, Status(message="Done"), **options)

    @client.create_function(fn_id="work", trigger=EVENT)
    def work_sync(ctx: inngest.ContextSync) -> None:
        rt.publish_step_sync(ctx, step_id, pipeline.status, Status(message="Done"), **options)

    client.middleware.remove(RealtimeMiddleware)
    run = stage.play(pipeline, [work if server == "fastapi" else work_sync], server=server)
    assert run.error is not None
    assert run.error["name"] == "NonRetriableError"
    assert says in run.error["message"]
    assert (run.requests, stage.published) == (1, 0)


MISTAKES: dict[str, tuple[Callable[[Pipeline], Any], Any]] = {
    "PublishError": (lambda ch: ch.status, {"massage": "Done"}),
    "TopicError": (lambda ch: (ch, "no-such-topic"), 1),
    "ChannelError": (lambda _ch: ("", "status"), 1),
}


@pytest.mark.parametrize("server", ["fastapi", "flask"])
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("way", ["publish_step", "publish", "publish in a step"])
def test_a_mistake_ends_the_run_at_once(
    way: str, mistake: str, server: str, stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    topic, data = MISTAKES[mistake][0](pipeline), MISTAKES[mistake][1]

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> None:
        if way == "publish_step":
            rt.publish_step_sync(ctx, "done", topic, data)
        elif way == "publish":
            rt.publish_sync(topic, data)
        else:
            ctx.step.run("done", rt.publish_sync, topic, data)

    run = stage.play(pipeline, [work], server=server, attempts=4)
    failed = run.error or next(iter(run.steps.values()))["error"]
    assert failed["name"] == "NonRetriableError"
    assert failed["message"].startswith(f"{mistake}: ")
    # The error of a step is given to the function, which may go on; without a try it fails by it.
    assert run.requests == (2 if way == "publish in a step" else 1)
    assert stage.published == 0


def test_a_mistake_in_parallel_and_without_the_middleware(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    client.middleware.remove(RealtimeMiddleware)

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await ctx.group.parallel((lambda: rt.publish_step(ctx, "done", pipeline.status, {"massage": "Done"}),))  # type: ignore[arg-type]

    run = stage.play(pipeline, [work])
    assert run.error is not None
    assert run.error["name"] == "NonRetriableError"
    assert run.requests == 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no TaskGroup")
@pytest.mark.parametrize(("others", "requests"), [((), 1), ((ValueError("passes"),), 2)], ids=["alone", "with another"])
def test_a_group_of_mistakes_ends_the_run_and_one_with_something_else_is_retried(
    others: tuple[Exception, ...],
    requests: int,
    stage: Stage,
    rt: Realtime,
    client: inngest.Inngest,
    pipeline: Pipeline,
) -> None:
    async def fail(error: Exception) -> None:
        raise error

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rt.publish((pipeline, Pipeline.status), {"massage": "Done"}))  # type: ignore[arg-type]
            for other in others:
                tasks.create_task(fail(other))

    run = stage.play(pipeline, [work], attempts=2)
    assert run.requests == requests
    assert run.error is not None
    assert (run.error["name"] == "NonRetriableError") is not bool(others)


def test_the_wrong_kind_of_context_is_a_mistake(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    anything: Any = rt

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        anything.publish_step_sync(ctx, "done", pipeline.status, Status(message="Done"))

    run = stage.play(pipeline, [work])
    assert run.error is not None
    assert "ctx is Context. Async functions use `await publish_step(ctx, ...)`" in run.error["message"]


@pytest.mark.parametrize("server", ["fastapi", "flask"])
def test_trouble_with_inngest_is_retried(
    server: str, stage: Stage, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    nowhere = Realtime(client, api_base_url="http://127.0.0.1:9")

    @client.create_function(fn_id="work", trigger=EVENT)
    def work(ctx: inngest.ContextSync) -> str:
        try:
            nowhere.publish_step_sync(ctx, "done", pipeline.status, Status(message="Done"))
        except inngest.StepError as error:
            return error.name
        return ""

    run = stage.play(pipeline, [work], server=server, attempts=3)
    assert run.output == "UnreachableError"
    assert run.requests == 4, "three attempts of the step, and the function that is told"
    nowhere.close_sync()


def test_without_the_middleware_the_run_is_known_all_the_same(
    stage: Stage, rt: Realtime, client: inngest.Inngest, pipeline: Pipeline
) -> None:
    client.middleware.remove(RealtimeMiddleware)
    run_id = new_run_id()

    @client.create_function(fn_id="work", trigger=EVENT)
    async def work(ctx: inngest.Context) -> None:
        await rt.publish(pipeline.status, Status(message="plain"))
        await rt.publish_step(ctx, "done", pipeline.status, Status(message="step"))

    stage.play(pipeline, [work], run_id=run_id)
    seen = {message.data["message"]: message.run_id for message in stage.messages}
    assert seen == {"plain": None, "step": run_id}
