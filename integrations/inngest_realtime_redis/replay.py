"""A replay window that all worker processes share, on Redis Streams. Needs the extra `redis`.

Each worker that subscribes to a channel records what it receives; a message is kept once, whoever recorded it first.
Whether nothing was missed between two moments is not a matter of trust: each worker notes for which time it vouches
(see `redis_cover`), and a client that resumes gets its messages only when these spans leave no hole, else a gap.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, cast

import anyio

from inngest_realtime_core._concurrency.tasks import end_tasks
from inngest_realtime_core._replay.log import Replay
from inngest_realtime_core._replay.window import Window
from inngest_realtime_core._upstream.liveness import Liveness
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import GapReason

from .coverage import STALL, Coverage, Span, coverage_end
from .format import RECORD, decode_envelope, encode_envelope, keys_of, remembered, spans

__all__ = ["RedisReplay"]

logger = logging.getLogger("inngest_realtime.replay")

_QUEUE: Final = 10_000  # messages that wait to be recorded; beyond it the recording has a hole
_REFRESH: Final = 2.0  # seconds between two notes that a worker is still subscribed
_LOG_INTERVAL: Final = 30.0  # seconds between two log lines about the same trouble
_TIMEOUT: Final = 2.0  # seconds that Redis may take: for an answer, for a resume in all, and for what waits at the end
_REST: Final = 2.0  # seconds after a failure in which no resume asks Redis
_GRACE: Final = 10_000  # milliseconds that keys and spans outlive the messages, so that live workers keep theirs


class RedisReplay:
    """What web clients missed, kept in Redis: they resume on any worker, also after the restart of another.

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

    def open(self, liveness: Liveness) -> RedisStore:
        """Connect on the running event loop.

        Args:
            liveness: How the connections to Inngest are kept alive: it says for how long a dead one goes unnoticed.
        """
        return RedisStore(self._url, self._prefix, self.local, liveness)


class RedisStore:
    """The connection of one event loop to Redis."""

    def __init__(self, url: str, prefix: str, limits: Replay, liveness: Liveness) -> None:
        from redis.asyncio import Redis as Client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        # Its commands are typed for both of its faces at once, sync and async.
        self._redis: Any = cast("Any", Client).from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        self._record = self._redis.register_script(RECORD)
        self._prefix = prefix
        self._limits = limits
        # A ping and its pong, a pause, and a ping without one; a busy process notices later.
        self._unnoticed = liveness.ping_interval + 2 * liveness.ping_timeout + STALL / 1000
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._channels: dict[str, Coverage] = {}
        self._left: list[tuple[str, Coverage]] = []  # what waited when a channel was left
        self._waiting = 0
        self._closed = False
        self._wake = asyncio.Event()
        self._flushes: list[asyncio.Future[bool]] = []
        self._executing: set[asyncio.Task[Any]] = set()
        self._clock = float("-inf")  # milliseconds that Redis' clock is ahead of the monotonic one, at least
        self._resting = 0.0  # until when no resume asks Redis, by the monotonic clock
        self._logged_at = float("-inf")
        self._task = asyncio.get_running_loop().create_task(self._run(), name="inngest-realtime redis")

    # -- recording ------------------------------------------------------------------------------------------------

    def begin(self, channel: str, topics: Iterable[str], proving: Callable[[], bool]) -> None:
        """Note that this worker is subscribed to these topics from now on; again after something may have been missed.

        What waits to be recorded is recorded all the same.

        Args:
            proving: Whether there is one connection to Inngest, alive as far as is known.
        """
        coverage = Coverage(tuple(topics), proving, self._limits.size)
        known = self._channels.get(channel)
        if known is not None:
            coverage.carry(known)
        self._channels[channel] = coverage
        self._wake.set()

    def add(self, envelope: Envelope) -> None:
        """Record a message. Returns at once."""
        coverage = self._channels.get(envelope.channel)
        if coverage is None:
            return
        if self._waiting >= _QUEUE:
            self._log_trouble("it takes messages more slowly than they come")
            self._waiting -= len(coverage.waiting)
            coverage.waiting = []
            self.begin(envelope.channel, coverage.topics, coverage.proving)
            return
        coverage.waiting.append(envelope)
        coverage.heard = time.monotonic()
        self._waiting += 1
        self._wake.set()

    def end(self, channel: str) -> None:
        """Note that this worker is no longer subscribed. What waits to be recorded is recorded all the same."""
        coverage = self._channels.pop(channel, None)
        if coverage is not None and coverage.waiting:
            coverage.topics = ()  # which notes no span
            self._left.append((channel, coverage))
            self._wake.set()

    async def close(self) -> None:
        """Record what waits, as far as Redis takes it within 2 s, and disconnect."""
        self._closed = True
        self._wake.set()
        try:
            if not self._is_resting:
                await asyncio.wait([self._task, *self._executing], timeout=_TIMEOUT)
        finally:
            await end_tasks([self._task])
            await end_tasks(self._executing)
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
        if self._waiting and not self._is_resting:
            # What came while it wrote.
            await self._write()

    @property
    def _is_resting(self) -> bool:
        return time.monotonic() < self._resting

    async def _flush(self) -> bool:
        """Return whether all that came before is recorded, once that has been tried."""
        flush: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._flushes.append(flush)
        self._wake.set()
        return await flush

    async def _write(self) -> None:
        flushes, self._flushes = self._flushes, []
        written = await self._write_due()
        for flush in flushes:
            if not flush.done():
                flush.set_result(written)

    async def _write_due(self) -> bool:
        now = time.monotonic()
        left, self._left = self._left, []
        due = left + [
            (channel, coverage)
            for channel, coverage in self._channels.items()
            if coverage.waiting or now - coverage.refreshed >= _REFRESH
        ]
        for start in range(0, len(due), 100):
            if not await self._write_some(due[start : start + 100]):
                # The rest keeps waiting: each try costs the time of an answer that does not come.
                self._left += [(channel, coverage) for channel, coverage in left if coverage.waiting]
                return False
        self._resting = 0.0
        return True

    async def _write_some(self, due: Sequence[tuple[str, Coverage]]) -> bool:
        # Not what has begun anew meanwhile: it must not go on as if nothing had been missed.
        due = [(channel, coverage) for channel, coverage in due if not coverage.over]
        try:
            answers = await self._execute(await self._recording(due))
        except Exception as error:
            # Whatever keeps Redis from answering: subscriptions go on, and resuming clients get a gap.
            self._failed(error)
            for channel, coverage in due:
                coverage.noted = ""
                if self._channels.get(channel) is coverage:
                    self.begin(channel, coverage.topics, coverage.proving)
                    self._channels[channel].refreshed = time.monotonic()
            return False
        now = time.monotonic()
        for (_, coverage), span in zip(due, answers, strict=True):
            coverage.noted = span.decode() if isinstance(span, bytes) else str(span)
            coverage.refreshed = now
            if coverage.noted:
                self._clock = Span.parse(coverage.noted).noted - now * 1000
        return True

    async def _recording(self, due: Iterable[tuple[str, Coverage]]) -> Any:
        pipeline = self._redis.pipeline(transaction=False)
        for channel, coverage in due:
            waiting = coverage.take()
            self._waiting -= len(waiting)
            arguments: list[Any] = [self._worker, coverage.noted, self._proved(coverage)]
            arguments += [self._limits.size, int(self._limits.max_age * 1000), _GRACE, STALL]
            arguments += [len(coverage.topics), *coverage.topics]
            for envelope in waiting:
                arguments += [envelope.identity, envelope.topic, envelope.created_at or "", encode_envelope(envelope)]
            await self._record(keys=keys_of(self._prefix, channel), args=arguments, client=pipeline)
        return pipeline

    def _proved(self, coverage: Coverage) -> int | str:
        """Up to when Inngest is proved to have delivered, by Redis' clock; 0 when not known, empty when not now."""
        if not coverage.proving():
            return ""
        proved = max(coverage.heard, time.monotonic() - self._unnoticed)
        return max(0, int(self._clock + proved * 1000)) if self._clock > float("-inf") else 0

    async def _execute(self, pipeline: Any) -> Any:
        # In a task of its own, because redis swallows a cancellation now and then (132 of 300 tried), and with it the
        # end of whoever waits.
        task = asyncio.get_running_loop().create_task(pipeline.execute(), name="inngest-realtime redis command")
        self._executing.add(task)
        task.add_done_callback(self._executed)
        with anyio.fail_after(_TIMEOUT):
            return await asyncio.shield(task)

    def _executed(self, task: asyncio.Task[Any]) -> None:
        self._executing.discard(task)
        if not task.cancelled():
            # Nobody may be waiting any more; asyncio would log it as never retrieved.
            task.exception()

    def _failed(self, error: Exception) -> None:
        self._resting = time.monotonic() + _REST
        self._log_trouble(type(error).__name__)

    def _log_trouble(self, trouble: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            logger.warning("Redis does not keep what clients may have to catch up on: %s.", trouble)

    # -- resuming -------------------------------------------------------------------------------------------------

    async def since(
        self, channel: str, event_id: str, topics: Collection[str]
    ) -> list[tuple[Envelope | GapReason, str]] | None:
        """What came after an `id:`; None when something may have been missed, or Redis does not answer within 2 s."""
        if self._is_resting or self._closed:
            return None
        try:
            with anyio.fail_after(_TIMEOUT):
                return await self._since(channel, event_id, topics)
        except Exception as error:
            # A client that is told of a gap fetches what it needs; one whose stream fails does not.
            self._failed(error)
            return None

    async def _since(
        self, channel: str, event_id: str, topics: Collection[str]
    ) -> list[tuple[Envelope | GapReason, str]] | None:
        stream, _, latest, cover = keys_of(self._prefix, channel)
        if not await self._flush():
            return None
        coverage = self._channels.get(channel)
        if coverage is None or not coverage.noted:
            return None
        known = Span.parse(coverage.noted)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xrange(stream)
        pipeline.hgetall(latest)
        pipeline.hgetall(cover)
        pipeline.time()
        entries, lasts, covers, (seconds, micros) = await self._execute(pipeline)
        if self._channels.get(channel) is not coverage:
            return None
        now = seconds * 1000 + micros // 1000
        recent: dict[str, tuple[int, bytes]] = {}
        for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", entries):
            at = int(entry_id.partition(b"-")[0])
            if now - at <= self._limits.max_age * 1000:
                recent.setdefault(fields[b"i"].decode(), (at, fields[b"e"]))
        newest = recent.get(event_id.partition(".")[0])
        if newest is None:
            return None
        noted = spans(covers)
        for topic in topics:
            # Of its own span a worker knows that it goes on, if it is the one that it believes to have.
            own = noted.get(topic, {}).get(self._worker)
            if own is None or own.begin != known.begin or own.noted < known.noted:
                return None
        reached = min(coverage_end(noted[topic].values(), newest[0]) for topic in topics)
        if reached < known.begin:
            return None
        received = set(coverage.received)
        # What is not proved and was not received here is still to come here, or a gap.
        uncertain = {identity for identity, (at, _) in recent.items() if at > reached} - received
        if uncertain and len(coverage.received) == coverage.received.maxlen:
            # Or it was received so long ago that nobody remembers.
            return None
        window = Window(self._limits)
        window.restore(
            [decode_envelope(text) for identity, (_, text) in recent.items() if identity not in uncertain],
            {topic: last for topic, last in remembered(channel, lasts).items() if last.identity not in uncertain},
        )
        return window.since(event_id, topics)
