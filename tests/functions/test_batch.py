"""Many small parts in few messages."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import pytest
import trio
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PlainSerializer, StringConstraints, field_serializer

from inngest_realtime_core import (
    Batch,
    Channel,
    ConfigurationError,
    Message,
    PublishError,
    Realtime,
    RealtimeError,
    SyncBatch,
    TopicError,
    UnreachableError,
    topic,
)
from inngest_realtime_devserver.server import DevServer
from raw_server import raw_server
from talk import Status, eventually, fresh, receive, soon


class Cents(BaseModel):
    """Its JSON form is not read back as what it was."""

    price: int

    @field_serializer("price")
    def in_cents(self, price: int) -> int:
        return price * 100


class Answers(Channel, name="answers:{key}"):
    key: str
    tokens = topic(str)
    short = topic(Annotated[str, Field(max_length=5)])
    stripped = topic(Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)])
    rows = topic(list[int])
    pair = topic(Annotated[list[int], Field(max_length=2)])
    found = topic(list[Status])
    status = topic(Status)
    maybe = topic(str | None)
    untyped = topic(Any)
    prices = topic(list[Cents])
    wrapped = topic(Annotated[str, PlainSerializer(lambda text: {"text": text})])


@pytest.fixture
def answers() -> Answers:
    return Answers(key=fresh().replace(":", "-"))


@asynccontextmanager
async def watching(realtime: Realtime, channel: Answers, name: str) -> AsyncIterator[list[Message[Any]]]:
    """The messages of a topic, complete when the block has ended."""
    messages: list[Message[Any]] = []
    async with realtime.subscribe(channel=channel.name, topics=[name, "end"]) as stream:
        yield messages
        await realtime.publish((channel.name, name), "the end")
        while (message := await soon(anext(stream))).data != "the end":
            messages.append(message)


async def send_and_fail(batch: Batch[str], part: str) -> None:
    async with batch:
        await batch.send(part)
        _ = 1 / 0


def send_and_fail_sync(batch: SyncBatch[str], part: str) -> None:
    with batch:
        batch.send(part)
        _ = 1 / 0


async def test_texts_are_joined_in_order(realtime: Realtime, answers: Answers) -> None:
    words = ["Hel", "lo", "", ", ", 'wo"rld', "\n", "☀️", "\\u0041"]
    async with watching(realtime, answers, "tokens") as messages:
        async with realtime.batch(answers.tokens) as tokens:
            for word in words:
                await tokens.send(word)
        assert tokens.messages == 1
    assert [message.data for message in messages] == ["".join(words)]
    assert messages[0].id


async def test_lists_are_extended(realtime: Realtime, answers: Answers) -> None:
    async with watching(realtime, answers, "found") as messages, realtime.batch(answers.found) as found:
        await found.send([Status(message="a")])
        await found.send([])
        await found.send([Status(message="b"), Status(message="c", step="d")])
    assert [message.data for message in messages] == [
        [{"message": "a", "step": None}, {"message": "b", "step": None}, {"message": "c", "step": "d"}]
    ]


async def test_a_message_leaves_when_the_time_has_come_and_hardly_earlier(realtime: Realtime, answers: Answers) -> None:
    async with realtime.subscribe(channel=answers.name, topics=["tokens"]) as stream:
        async with realtime.batch(answers.tokens, every=0.2) as tokens:
            began = time.monotonic()
            await tokens.send("a")
            await tokens.send("b")
            message = await soon(anext(stream))
            assert message.data == "ab"
            assert time.monotonic() - began >= 0.19
            await tokens.send("c")
            message = await soon(anext(stream))
            assert message.data == "c"


@pytest.mark.parametrize(("every", "at_most"), [(0.05, 0.048), (1.0, 0.998), (0.005, 0.0046)])
async def test_the_time_allows_for_timers_that_come_late(
    every: float, at_most: float, realtime: Realtime, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Event loops call a timer up to a few milliseconds late, and a part waits for `every` at most.
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    delays: list[float] = []

    def recording(delay: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return call_later(delay, *arguments, **options)

    async with realtime.batch(answers.tokens, every=every) as tokens:
        monkeypatch.setattr(loop, "call_later", recording)
        await tokens.send("a")
        monkeypatch.undo()
    assert 0.9 * every <= delays[0] <= at_most


async def test_a_message_leaves_when_it_is_full(server: DevServer, realtime: Realtime, answers: Answers) -> None:
    async with watching(realtime, answers, "tokens") as messages:
        async with realtime.batch(answers.tokens, every=3600, max_bytes=12) as tokens:
            await tokens.send("x" * 10)  # and two quotes
            await eventually(lambda: server.stats().publishes == 1)
            await tokens.send("y" * 6)
            await tokens.send("z" * 5)  # would be one too many
            await eventually(lambda: server.stats().publishes == 2)
            await tokens.send("too large for one, so it goes alone")
            await tokens.send("w")
    assert [message.data for message in messages] == [
        *("x" * 10, "y" * 6, "z" * 5, "too large for one, so it goes alone", "w")
    ]


async def test_flush_returns_when_all_is_published(server: DevServer, realtime: Realtime, answers: Answers) -> None:
    async with realtime.batch(answers.tokens, every=3600) as tokens:
        await tokens.flush()
        assert server.stats().publishes == 0
        await tokens.send("a")
        await soon(tokens.flush())
        assert server.stats().publishes == tokens.messages == 1


async def test_the_end_of_the_block_publishes_the_rest_also_after_an_error(
    realtime: Realtime, answers: Answers
) -> None:
    async with watching(realtime, answers, "tokens") as messages:
        with pytest.raises(ZeroDivisionError):
            await send_and_fail(realtime.batch(answers.tokens, every=3600), "before the error")
        inside = asyncio.Event()

        async def cancelled() -> None:
            async with realtime.batch(answers.tokens, every=3600) as tokens:
                await tokens.send("before the cancellation")
                inside.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(cancelled())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
    assert [message.data for message in messages] == ["before the error", "before the cancellation"]


@pytest.mark.parametrize("name", ["status", "maybe", "untyped"])
def test_other_topics_are_refused_when_it_is_made(name: str, answers: Answers) -> None:
    realtime = Realtime(api_base_url="http://127.0.0.1:9")
    for make in (realtime.batch, realtime.batch_sync):
        anything: Any = make
        with pytest.raises(TopicError, match=f"topic of str, whose parts it joins, or of a list; '{name}' is neither"):
            anything(getattr(answers, name))
        with pytest.raises(TopicError, match="is neither"):
            anything(("a channel that declares nothing", name))


@pytest.mark.parametrize(
    "options",
    [
        *({"every": value} for value in (-1, "1", None, True, float("nan"), float("inf"))),
        *({"max_bytes": value} for value in (0, 524_289, "1", None, True, 1.5)),
        *({"run_id": value} for value in ("", "x", 5, b"01JDK3V4Q5W6X7Y8Z9ABCDEFGH")),
        *(
            {"metadata": value}
            for value in ("x", ["x"], {1: 2}, {"a": b"x"}, {"a": float("nan")}, {"inngest-realtime": 1})
        ),
        {"metadata": {"a": "x" * 70_000}},
    ],
    ids=lambda options: str(options)[:40],
)
def test_options_that_are_not_acceptable_are_refused_when_it_is_made(options: dict[str, Any], answers: Answers) -> None:
    realtime = Realtime(api_base_url="http://127.0.0.1:9")
    (name,) = options
    expected = ConfigurationError if name in ("every", "max_bytes") else PublishError
    for make in (realtime.batch, realtime.batch_sync):
        with pytest.raises(expected, match=name):
            make(answers.tokens, **options)


def test_the_most_that_options_may_be(answers: Answers) -> None:
    realtime = Realtime(api_base_url="http://127.0.0.1:9")
    realtime.batch(answers.tokens, every=0, max_bytes=524_288, metadata={})
    realtime.batch(answers.tokens, every=1, max_bytes=1, run_id="01JDK3V4Q5W6X7Y8Z9ABCDEFGH")


async def test_a_part_that_does_not_fit_is_refused_at_once_and_the_others_go_on(
    realtime: Realtime, answers: Answers
) -> None:
    async with watching(realtime, answers, "rows") as messages, realtime.batch(answers.rows) as rows:
        anything: Any = rows
        await rows.send([1])
        for part in (["x"], 7, None, [float("nan")]):
            with pytest.raises(PublishError):
                await anything.send(part)
        await rows.send([2])
    assert [message.data for message in messages] == [[1, 2]]


async def test_the_type_is_applied_to_each_part(realtime: Realtime, answers: Answers) -> None:
    async with watching(realtime, answers, "stripped") as messages, realtime.batch(answers.stripped) as batch:
        await batch.send(" calm ")
        with pytest.raises(PublishError, match="at least 2"):
            await batch.send("a")
        await batch.send(" week ")
    assert [message.data for message in messages] == ["calmweek"]


async def test_what_is_encoded_is_not_encoded_again(realtime: Realtime, answers: Answers) -> None:
    async with realtime.subscribe(channel=answers, topics=["prices"], validate=False) as stream:
        async with realtime.batch(answers.prices) as prices:
            await prices.send([Cents(price=3)])
            await prices.send([Cents(price=4)])
        (message,) = await receive(stream, 1)
    assert message == [{"price": 300}, {"price": 400}]


async def test_a_text_whose_json_is_something_else_is_refused(realtime: Realtime, answers: Answers) -> None:
    with pytest.raises(TopicError):
        realtime.batch(answers.wrapped)


async def test_a_block_that_is_cancelled_at_its_end_says_what_is_lost(
    answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(realtime: Realtime) -> None:
        async with realtime.batch(answers.tokens, every=60) as tokens:
            await tokens.send("text")

    def keep(connection: socket.socket) -> None:
        connection.recv(1)

    with raw_server(keep) as silent:
        async with Realtime(api_base_url=silent.url) as realtime:
            task = asyncio.create_task(work(realtime))
            await eventually(lambda: bool(silent.requests))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert "its block was cancelled" in caplog.text


async def test_what_is_joined_must_fit_the_topic_too(realtime: Realtime, answers: Answers) -> None:
    async def too_long() -> None:
        async with realtime.batch(answers.short) as short:
            await short.send("abc")
            await short.send("def")

    async def too_many() -> None:
        async with realtime.batch(answers.pair) as pair:
            await pair.send([1, 2])
            await pair.send([3])

    with pytest.raises(PublishError, match="at most 5 characters"):
        await too_long()
    with pytest.raises(PublishError, match="at most 2 items"):
        await too_many()


async def test_what_is_joined_is_no_more_than_parts_that_fit(realtime: Realtime, answers: Answers) -> None:
    async with watching(realtime, answers, "pair") as messages, realtime.batch(answers.pair) as pair:
        await pair.send([1])
        await pair.send([2])
        await pair.flush()
        await pair.send([3, 4])
    assert [message.data for message in messages] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("ended_by", ["asyncio", "anyio"])
async def test_a_block_that_is_cancelled_publishes_the_rest(
    ended_by: str, realtime: Realtime, answers: Answers
) -> None:
    async def work(entered: asyncio.Event) -> None:
        async with realtime.batch(answers.tokens, every=60) as tokens:
            await tokens.send("text")
            entered.set()
            await asyncio.sleep(3600)

    entered = asyncio.Event()
    async with watching(realtime, answers, "tokens") as messages:
        if ended_by == "asyncio":
            task = asyncio.create_task(work(entered))
            await soon(entered.wait())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, entered)
                await soon(entered.wait())
                tasks.cancel_scope.cancel()
    assert [message.data for message in messages] == ["text"]


async def test_a_request_that_fails_ends_the_batch(answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    async with Realtime(api_base_url="http://127.0.0.1:9") as realtime:
        with pytest.raises(UnreachableError):
            async with realtime.batch(answers.tokens) as tokens:
                await tokens.send("a")  # fails at the end, and there it is told
        async with realtime.batch(answers.tokens) as tokens:
            await tokens.send("a")
            with pytest.raises(UnreachableError):
                await tokens.flush()
            with pytest.raises(UnreachableError):
                await tokens.send("b")  # was told already, so the end is silent
        assert not caplog.records
        with caplog.at_level(logging.WARNING, "inngest_realtime.batch"), pytest.raises(ZeroDivisionError):
            await send_and_fail(realtime.batch(answers.tokens), "a")
        assert "The last parts of a batch were not published" in caplog.text


async def test_a_batch_that_is_not_open(realtime: Realtime, answers: Answers) -> None:
    tokens = realtime.batch(answers.tokens)
    with pytest.raises(RealtimeError, match="not open"):
        await tokens.send("a")
    async with tokens:
        await tokens.send("a")
    for part in ("b", ""):
        with pytest.raises(RealtimeError, match="not open"):
            await tokens.send(part)
    with pytest.raises(RealtimeError, match="once"):
        async with tokens:
            pass


class Requests:
    """Stands at the place of `publish()`: how many are under way, and when they are answered."""

    def __init__(self) -> None:
        self.data: list[Any] = []
        self.under_way = self.most = 0
        self.answered = asyncio.Event()

    async def publish(self, data: Any) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.answered.wait()
            self.data.append(data)
        finally:
            self.under_way -= 1


async def test_one_request_at_a_time_and_back_pressure() -> None:
    requests = Requests()
    adapter = Answers.tokens.adapter
    async with Batch(requests.publish, "tokens", adapter, every=0, max_bytes=12) as tokens:
        await tokens.send("a" * 10)
        await eventually(lambda: requests.under_way == 1)
        await tokens.send("b" * 9)  # room for as much as a message holds, and no more
        last = asyncio.create_task(tokens.send("c" * 9))
        after = asyncio.create_task(tokens.send("d"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not last.done()
        assert not after.done()
        requests.answered.set()
        await soon(asyncio.gather(last, after))
    assert requests.most == 1
    assert requests.data == ["a" * 10, "b" * 9, "c" * 9 + "d"]


async def test_a_second_cancellation_does_not_wait_for_the_request() -> None:
    requests = Requests()

    async def work() -> None:
        async with Batch(requests.publish, "tokens", Answers.tokens.adapter, every=0, max_bytes=100) as tokens:
            await tokens.send("a")
            await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await eventually(lambda: requests.under_way == 1)
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done(), "the rest is still on its way"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert requests.under_way == 0
    assert len(asyncio.all_tasks()) == 1


@given(st.lists(st.text(max_size=20), max_size=30), st.integers(2, 60))
async def test_nothing_is_lost_or_changed_and_no_message_is_too_large(parts: list[str], max_bytes: int) -> None:
    requests = Requests()
    requests.answered.set()
    async with Batch(requests.publish, "tokens", Answers.tokens.adapter, every=0, max_bytes=max_bytes) as tokens:
        for part in parts:
            await tokens.send(part)
    assert "".join(requests.data) == "".join(parts)
    assert all(requests.data)


def test_threads(server_in_thread: DevServer, answers: Answers) -> None:
    realtime = Realtime(api_base_url=server_in_thread.url, linger=0)
    try:
        with realtime.subscribe_sync(channel=answers, topics=["tokens"]) as stream:
            with realtime.batch_sync(answers.tokens, every=3600) as tokens:
                tokens.send("Hel")
                tokens.send("lo")
                tokens.flush()
                tokens.send("!")
            assert tokens.messages == 2
            messages = [stream.receive(timeout=5) for _ in range(2)]
            assert [message and message.data for message in messages] == ["Hello", "!"]
            with pytest.raises(ZeroDivisionError):
                send_and_fail_sync(realtime.batch_sync(answers.tokens), "before the error")
            message = stream.receive(timeout=5)
            assert message is not None
            assert message.data == "before the error"
        with pytest.raises(RealtimeError, match="not open"):
            realtime.batch_sync(answers.tokens).send("a")
    finally:
        realtime.close_sync()


def test_many_threads_share_one_batch(server_in_thread: DevServer, answers: Answers) -> None:
    realtime = Realtime(api_base_url=server_in_thread.url, linger=0)
    with realtime.subscribe_sync(channel=answers, topics=["rows"]) as stream:
        with realtime.batch_sync(answers.rows, every=0, max_bytes=64) as rows:
            senders = [
                threading.Thread(target=lambda part=part: [rows.send([part, part]) for _ in range(10)])
                for part in range(8)
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
        got: list[int] = []
        while len(got) < 160:
            message = stream.receive(timeout=5)
            assert message is not None
            got += message.data
    assert sorted(got) == sorted([part for part in range(8) for _ in range(20)])
    assert got[::2] == got[1::2], "a part was torn"
    realtime.close_sync()


@pytest.fixture
def server_in_thread() -> Any:
    with DevServer().in_thread() as server:
        yield server


async def test_a_batch_while_the_clock_is_frozen(server: DevServer, realtime: Realtime, answers: Answers) -> None:
    async with realtime.subscribe(channel=answers, topics=["tokens"]) as stream:
        with freeze_time("2026-01-01"):
            async with realtime.batch(answers.tokens, every=0.05) as tokens:
                await tokens.send("a")
                await tokens.send("b")
                assert (await anext(stream)).data == "ab"


def test_a_batch_without_asyncio(answers: Answers) -> None:
    realtime = Realtime(api_base_url="http://127.0.0.1:9")

    async def main() -> None:
        async with realtime.batch(answers.tokens):
            raise AssertionError

    with pytest.raises(ConfigurationError, match="not on trio"):
        trio.run(main)
