"""A replay window that all worker processes share, on Redis Streams. Needs the extra `redis`.

Each worker that subscribes to a channel records what it receives; a message is kept once, whoever recorded it first.
Whether nothing was missed between two moments is not a matter of trust: each worker notes from when until when it was
subscribed, and a client that resumes gets its messages only when these spans leave no hole, else a gap.

Per channel, four keys under `<prefix>{<channel>}:`, which expire on their own: `stream` (the messages), `ids` (what is
in it already), `last` (the last message of each topic) and `cover` (who was subscribed from when until when).
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from .envelope import Envelope
from .errors import ConfigurationError
from .messages import GapReason
from .replay import Replay, Window

__all__ = ["RedisReplay"]

logger = logging.getLogger("inngest_realtime.replay")

_QUEUE: Final = 10_000  # messages that wait to be recorded; beyond it the recording has a hole
_REFRESH: Final = 2.0  # seconds between two notes that a worker is still subscribed
_SLACK: Final = 1_000  # milliseconds that a worker must have been subscribed before a message to vouch for what follows
_COMPLAINT: Final = 30.0  # seconds between two log lines about the same trouble
_TIMEOUT: Final = 2.0  # seconds that Redis may take for an answer

_RECORD = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local worker, begin, size, ttl, topics = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if begin == '' then begin = tostring(ms) end
for i = 6, 5 + topics do redis.call('HSET', KEYS[4], worker .. '|' .. ARGV[i], begin .. '|' .. ms) end
for i = 6 + topics, #ARGV, 4 do
  if redis.call('ZADD', KEYS[2], 'NX', ms, ARGV[i]) == 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', size, '*', 'i', ARGV[i], 'e', ARGV[i + 3])
    redis.call('HSET', KEYS[3], ARGV[i + 1], ARGV[i] .. '|' .. ARGV[i + 2])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms - ttl)
for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ttl * 2) end
return begin
"""


class RedisReplay:
    """What web clients missed, kept in Redis: they resume on any worker, and after a restart.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as the `redis` package takes it.
        size: Messages kept for each channel at most.
        max_age: Seconds that a message is kept at most.
        prefix: Before the names of all keys.

    Raises:
        ConfigurationError: The package `redis` is not installed.
    """

    def __init__(self, url: str, *, size: int = 256, max_age: float = 60.0, prefix: str = "inngest-realtime:") -> None:
        if importlib.util.find_spec("redis") is None:
            raise ConfigurationError("RedisReplay needs the package redis. Install inngest-realtime[redis].")
        self._url = url
        self._prefix = prefix
        self.local = Replay(size=size, max_age=max_age)

    def __repr__(self) -> str:
        return f"<RedisReplay prefix={self._prefix!r}>"

    def open(self) -> RedisStore:
        """Connect on the running event loop."""
        return RedisStore(self._url, self._prefix, self.local)


class _Coverage:
    """One channel that this worker is subscribed to."""

    __slots__ = ("begin", "refreshed", "topics", "waiting")

    def __init__(self, topics: tuple[str, ...]) -> None:
        self.topics = topics
        self.begin = ""  # milliseconds of Redis' clock; empty until Redis has been told
        self.refreshed = 0.0
        self.waiting: list[Envelope] = []


class RedisStore:
    """The connection of one event loop to Redis."""

    def __init__(self, url: str, prefix: str, limits: Replay) -> None:
        from redis.asyncio import Redis as Client

        # Its commands are typed for both of its faces at once, sync and async.
        self._redis: Any = cast("Any", Client).from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
        self._record = self._redis.register_script(_RECORD)
        self._prefix = prefix
        self._limits = limits
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._channels: dict[str, _Coverage] = {}
        self._waiting = 0
        self._closed = False
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._executing: set[asyncio.Future[Any]] = set()
        self._complained = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run(), name="inngest-realtime redis")

    # -- recording ------------------------------------------------------------------------------------------------

    def begin(self, channel: str, topics: Iterable[str]) -> None:
        """Note that this worker is subscribed to these topics from now on; again after something may have been missed.

        What waits to be recorded is recorded all the same.
        """
        fresh = _Coverage(tuple(topics))
        known = self._channels.get(channel)
        if known is not None:
            fresh.waiting = known.waiting
        self._channels[channel] = fresh
        self._wake.set()

    def add(self, envelope: Envelope) -> None:
        """Record a message. Returns at once."""
        coverage = self._channels.get(envelope.channel)
        if coverage is None:
            return
        if self._waiting >= _QUEUE:
            self._complain("it takes messages more slowly than they come")
            self.end(envelope.channel)
            self.begin(envelope.channel, coverage.topics)
            return
        coverage.waiting.append(envelope)
        self._waiting += 1
        self._wake.set()

    def end(self, channel: str) -> None:
        """Note that this worker is no longer subscribed."""
        coverage = self._channels.pop(channel, None)
        if coverage is not None:
            self._waiting -= len(coverage.waiting)

    async def close(self) -> None:
        """Record what waits, and disconnect."""
        self._closed = True
        self._wake.set()
        try:
            # Not cancelled: it writes what waits, and each answer of Redis has a timeout.
            await self._task
            if self._executing:
                await asyncio.wait(self._executing)
        finally:
            await self._redis.aclose()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            timer = loop.call_later(_REFRESH, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
            self._wake.clear()
            await self._write()

    async def _write(self) -> None:
        # One at a time: who returns from here knows that all that came before is recorded.
        async with self._writing:
            await self._write_due()

    async def _write_due(self) -> None:
        now = time.monotonic()
        due = [
            (channel, coverage)
            for channel, coverage in self._channels.items()
            if coverage.waiting or now - coverage.refreshed >= _REFRESH
        ]
        for start in range(0, len(due), 100):
            await self._write_some(due[start : start + 100], now)

    async def _write_some(self, due: Sequence[tuple[str, _Coverage]], now: float) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for channel, coverage in due:
            waiting, coverage.waiting = coverage.waiting, []
            self._waiting -= len(waiting)
            ttl = int(self._limits.max_age * 1000)
            arguments: list[Any] = [self._worker, coverage.begin, self._limits.size, ttl]
            arguments += [len(coverage.topics), *coverage.topics]
            for envelope in waiting:
                arguments += [envelope.identity, envelope.topic, envelope.created_at or "", _freeze(envelope)]
            await self._record(keys=self._keys(channel), args=arguments, client=pipeline)
        try:
            begins = await self._execute(pipeline)
        except Exception as error:
            # Whatever keeps Redis from answering: subscriptions go on, and resuming clients get a gap.
            self._complain(type(error).__name__)
            for channel, coverage in due:
                if self._channels.get(channel) is coverage:
                    self.begin(channel, coverage.topics)
                    self._channels[channel].refreshed = now
            return
        for (_, coverage), begin in zip(due, begins, strict=True):
            coverage.begin = begin.decode() if isinstance(begin, bytes) else str(begin)
            coverage.refreshed = now

    async def _execute(self, pipeline: Any) -> Any:
        # In a task of its own, because redis swallows a cancellation now and then (132 of 300 tried), and with it the
        # end of whoever waits.
        task = asyncio.ensure_future(pipeline.execute())
        self._executing.add(task)
        task.add_done_callback(self._executing.discard)
        return await asyncio.shield(task)

    def _complain(self, trouble: str) -> None:
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT:
            self._complained = now
            logger.warning("Redis does not keep what clients may have to catch up on: %s.", trouble)

    def _keys(self, channel: str) -> list[str]:
        # The braces keep the keys of a channel on one node of a cluster.
        base = f"{self._prefix}{{{channel}}}:"
        return [base + "stream", base + "ids", base + "last", base + "cover"]

    # -- resuming -------------------------------------------------------------------------------------------------

    async def since(
        self, channel: str, event_id: str, topics: Collection[str]
    ) -> list[tuple[Envelope | GapReason, str]] | None:
        """What came after an `id:`; None when something may have been missed, or Redis does not answer."""
        stream, _, last, cover = self._keys(channel)
        try:
            await self._write()
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.xrange(stream)
            pipeline.hgetall(last)
            pipeline.hgetall(cover)
            pipeline.time()
            entries, lasts, covers, (seconds, micros) = await self._execute(pipeline)
        except Exception as error:
            self._complain(type(error).__name__)
            return None
        now = seconds * 1000 + micros // 1000
        written: dict[str, int] = {}
        window = Window(self._limits)
        recent: list[Envelope] = []
        for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", entries):
            at = int(entry_id.partition(b"-")[0])
            if now - at > self._limits.max_age * 1000:
                continue
            written[fields[b"i"].decode()] = at
            recent.append(_thaw(fields[b"e"]))
        window.restore(recent, _remembered(channel, lasts))
        missed = window.since(event_id, topics)
        newest = written.get(event_id.partition(".")[0])
        if missed is None or newest is None:
            return None
        covered = all(_covered(covers, topic, newest, now, self._worker) for topic in topics)
        return missed if covered else None


def _freeze(envelope: Envelope) -> bytes:
    if envelope.stream is not None:
        envelope = msgspec.structs.replace(envelope, stream=None)
    return msgspec.json.encode(envelope)


def _thaw(text: bytes) -> Envelope:
    return msgspec.json.decode(text, type=Envelope)


def _remembered(channel: str, lasts: Mapping[bytes, bytes]) -> dict[str, Envelope]:
    """The last message of each topic, as far as it can be recognised again."""
    result: dict[str, Envelope] = {}
    for topic, value in lasts.items():
        identity, _, created_at = value.decode().partition("|")
        name = topic.decode()
        result[name] = Envelope(
            "data", channel=channel, topic=name, created_at=created_at or None, known_identity=identity
        )
    return result


def _covered(covers: Mapping[bytes, bytes], topic: str, since: int, now: int, worker: str) -> bool:
    """Whether some worker was subscribed to a topic at every moment from a message on, up to now."""
    spans: list[tuple[int, int]] = []
    for field, value in covers.items():
        name, _, covered = field.decode().partition("|")
        if covered != topic:
            continue
        begin, _, alive = value.decode().partition("|")
        # This worker is subscribed as it asks; another may have died since it last said so.
        spans.append((int(begin), now if name == worker else int(alive)))
    reached = since - _SLACK
    for start, end in sorted(spans):
        if start <= reached:
            reached = max(reached, end)
    return reached >= now
