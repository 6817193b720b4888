"""The connection of one event loop to the log in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from inngest_realtime_core._api.claims import TokenClaims
from inngest_realtime_core._concurrency.tasks import create_shared_task, deadline, end_tasks
from inngest_realtime_core._replay.event_ids import Cursor, EventIds
from inngest_realtime_core._replay.log import Kept, Replay
from inngest_realtime_core._replay.numbers import TICKS, Clock, to_ticks
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.settings import Settings
from inngest_realtime_core.stats import ReplayHealth

from .clients import Executor, execute_pipeline, new_client
from .clock import RedisClock
from .event_id_key import share_key
from .marks import Marks
from .scripts import (
    LOAD,
    MARK,
    PUBLISH,
    RECEIVE,
    WITHDRAW,
    encode_envelope,
    keys_of,
    namespace_of,
    needed_by,
    read_kept,
    receipts,
)
from .trouble import Trouble, is_of_another_kind, tell_unreadable

_TIMEOUT: Final = 2.0  # seconds that Redis may take for a reply
_RECORD: Final = 1.5  # seconds within which Redis records a message, if it does: it may be sent without a number then
_PATIENCE: Final = 0.5  # seconds that the events of a page wait, after its first bytes, for what their ids tell
_QUEUE: Final = 10_000  # received messages that wait to be recorded
_QUEUE_BYTES: Final = 32 * 2**20  # and their payloads
_LOOK: Final = 120.0  # seconds between two looks for channels that are to be marked again
_BATCH: Final = 100  # messages that are recorded with one command
_MAX_ERROR: Final = 0.5  # seconds that the time of Redis may be wrong for what it keeps to be used
_PROBE: Final = "inngest-realtime-probe"  # a channel that is marked to see whether Redis is back


class RedisHistory:
    """Records what this event loop's channels receive and what is published on it, and reads what others recorded."""

    shared: bool = True

    def __init__(
        self,
        source: Any,
        prefix: str,
        namespace: str | None,
        limits: Replay,
        settings: Settings,
        claims: Callable[[], Awaitable[TokenClaims]],
        event_ids: EventIds,
        trouble: Trouble,
        clock: RedisClock,
        namespaces: dict[Settings, str],
    ) -> None:
        self._redis = new_client(source, _TIMEOUT)
        self._scripts = {text: self._redis.register_script(text) for text in (PUBLISH, WITHDRAW, RECEIVE, MARK, LOAD)}
        self._root = prefix
        self._namespace = namespace or namespaces.get(settings)
        self._namespaces = namespaces
        self._limits = limits
        self._arguments = (limits.size, limits.max_bytes, int(limits.max_age * 1000))
        self._settings = settings
        self._claims = claims
        self._event_ids = event_ids
        self._waiting: dict[str, list[tuple[Envelope, Envelope | None]]] = {}
        self._count = self._size = 0
        self._marks = Marks()
        self._closed = False
        self._trouble = trouble
        self._clock = clock
        self._has_waited = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._execute = Executor(_TIMEOUT)
        self._setup: asyncio.Task[bool] = create_shared_task(self._set_up(first=True), name="inngest-realtime redis")
        self._writer = create_shared_task(self._run(), name="inngest-realtime redis")

    # -- the beginning --------------------------------------------------------------------------------------------

    async def ready(self, patience: float = _PATIENCE) -> None:
        """Returns when event ids can be made that every process understands, or after so many seconds."""
        if not (self._setup.done() or self._trouble.is_away):
            with deadline(patience):
                await asyncio.wait([self._setup])

    async def _ready_to_record(self) -> None:
        """Returns when Redis can be used, or after 2 s, once."""
        if not self._has_waited:
            await self.ready(_TIMEOUT + 0.5)
            self._has_waited = not self._setup.done()

    async def _set_up(self, *, first: bool = False) -> bool:
        """Find out the namespace and the time, and have a key for event ids where there is no signing key."""
        if first and self._trouble.is_away:
            return False
        try:
            if self._namespace is None:
                self._namespace = namespace_of(self._settings, await self._claims())
                self._namespaces[self._settings] = self._namespace
            if not self._clock.is_known:
                sent_at = time.monotonic()
                seconds, microseconds = await self._execute(self._redis.time())
                self._clock.read(seconds + microseconds / 1e6, sent_at)
            if self._settings.signing_key is None:
                name = f"{self._root}{self._namespace}:event-id-key"
                await share_key(self._event_ids, self._redis, self._execute, name)
        except Exception as error:
            # Inngest or Redis is away: nothing is kept until they are back.
            self._failed(error)
            return False
        return True

    @property
    def _is_ready(self) -> bool:
        return self._setup.done() and not self._setup.cancelled() and self._setup.result()

    def _usable_or_probe(self) -> bool:
        """Whether Redis can be used. Where it is away, the writer is woken to ask whether it is back."""
        if self._trouble.is_away:
            self._wake.set()  # the event loop that found out may have been closed
            return False
        return self._is_ready and not self._closed

    def _failed(self, error: Exception) -> None:
        if not self._closed:  # then what is under way is given up, which says nothing of Redis
            self._trouble.begins(error)
            self._wake.set()

    # -- recording ------------------------------------------------------------------------------------------------

    def follow(self, channel: str) -> None:
        """Called when this process is subscribed: from now on nothing is missing among what is kept."""
        self._marks.follow(channel)
        self._wake.set()

    def leave(self, channel: str, received: Sequence[Envelope], *, mixed: bool, since: float) -> None:
        """Called when this process is no longer subscribed."""
        self._marks.leave(channel)

    async def cover(self, channel: str) -> int:
        """What the numbers given from now on are greater than; 0 when Redis does not tell."""
        with self._marks.asking(channel):
            await self.ready()
            if self._usable_or_probe():
                reply = self._marks.cover(channel)
                self._wake.set()
                with deadline(_PATIENCE):
                    return await reply
            return 0

    def created(self, channel: str) -> int:
        """Tells the numbers that are given here from those that another Redis gives; 0 when it is not known yet."""
        return self._marks.created.get(channel, 0)

    @property
    def clock(self) -> Clock:
        """That of Redis."""
        return self._clock.reading

    def add(self, envelope: Envelope, before: Envelope | None) -> None:
        """Record a message that was received. Returns at once."""
        too_much = self._count >= _QUEUE or self._size + envelope.size > _QUEUE_BYTES
        if too_much or self._trouble.is_away:
            self._marks.mix([envelope.channel])
            return
        self._waiting.setdefault(envelope.channel, []).append((envelope, before))
        self._count += 1
        self._size += envelope.size
        self._idle.clear()
        self._wake.set()

    async def publish(self, envelope: Envelope) -> Sequence[int] | None:
        """Record a message before it is sent; returns its number."""
        if not self._limits.published:
            return None
        await self._ready_to_record()
        if (asked := self._marks.asked.get(envelope.channel)) is not None:
            await asyncio.wait([asked])
        seq = await self._record(envelope) if self._usable_or_probe() else None
        if seq is None:
            self._marks.mix([envelope.channel])
        return seq

    async def _record(self, envelope: Envelope) -> Sequence[int] | None:
        content = envelope.identity, envelope.topic, encode_envelope(envelope)
        for _ in range(2):
            sent_at, clock = time.monotonic(), self._clock.reading
            until = to_ticks(sent_at + clock.ahead + clock.error + _RECORD)
            reply: list[int] | None = await self._call(PUBLISH, envelope.channel, *content, until)
            if reply is None:
                break
            self._clock.read(reply[-1] / TICKS, sent_at)
            if len(reply) > 1:
                return reply[:-1]
            # It came too late, or one of the clocks has been set.
        return None

    async def withdraw(self, envelope: Envelope) -> None:
        """Called when Inngest has rejected a message that was recorded."""
        if self._limits.published and self._usable_or_probe():
            await self._call(WITHDRAW, envelope.channel, envelope.identity, envelope.topic)

    def publish_unidentified(self, channel: str) -> None:
        """Called before something is sent to a channel that is not recorded."""
        self._marks.mix([channel])
        self._wake.set()

    def health(self) -> ReplayHealth | None:
        """Whether Redis does what it is asked; None before it was asked anything. Callable from any thread."""
        return self._trouble.health

    async def _call(self, script: str, channel: str, *arguments: Any) -> Any:
        """Run a script; None when Redis does not reply."""
        try:
            reply = await self._execute(self._run_script(script, channel, arguments))
        except Exception as error:
            # Whatever keeps Redis from replying: publishing and subscriptions go on, and clients get a gap.
            if is_of_another_kind(error):
                tell_unreadable(channel, error)
            else:
                self._failed(error)
            return None
        if not self._trouble.lasts:
            self._trouble.ends()
        return reply

    def _run_script(self, script: str, channel: str, arguments: Sequence[Any], client: Any = None) -> Any:
        keys = keys_of(f"{self._root}{self._namespace}:", channel)
        return self._scripts[script](keys=keys, args=[*self._arguments, *arguments], client=client)

    async def _run(self) -> None:
        while not self._closed:
            if not self._trouble.lasts:
                await self._wait()
            await asyncio.sleep(max(self._trouble.retry_at - time.monotonic(), 0.0))
            self._wake.clear()
            if self._setup.done() and not self._is_ready:
                self._setup = asyncio.ensure_future(self._set_up())
            if not self._setup.done():
                await asyncio.wait([self._setup])
            if self._is_ready:
                await self._write()

    async def _wait(self) -> None:
        """Wait for something to record, or until the followed channels are to be marked again."""
        timer = asyncio.get_running_loop().call_later(_LOOK, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._marks.renew()

    async def _write(self) -> None:
        """Record what waits, a batch for each channel at a time."""
        probe = self._trouble.lasts
        while self._waiting or self._marks or probe:
            taken = self._marks.take()
            waiting, self._waiting = self._waiting, {}
            channels = [*taken.marks, *waiting]
            pipeline = self._redis.pipeline(transaction=False)
            for channel, mark in taken.marks.items():
                await self._run_script(MARK, channel, (mark,), pipeline)
            for channel, received in waiting.items():
                batch, rest = received[:_BATCH], received[_BATCH:]
                if rest:
                    self._waiting[channel] = rest
                self._count -= len(batch)
                self._size -= sum(envelope.size for envelope, _ in batch)
                await self._run_script(RECEIVE, channel, receipts(batch), pipeline)
            if probe:
                # Not a ping: a Redis whose memory is full, or that takes no writes, replies to one.
                await self._run_script(MARK, _PROBE, ("followed",), pipeline)
                probe = False
            sent_at = time.monotonic()
            try:
                replies = await self._execute(execute_pipeline(pipeline))
                for error in (reply for reply in replies if isinstance(reply, Exception)):
                    if not is_of_another_kind(error):
                        raise error
            except Exception as error:
                # What was not recorded must not look as if nothing were missing.
                self._failed(error)
                self._marks.failed(taken)
                self._marks.mix([*waiting, *self._waiting])
                self._waiting.clear()
                self._count = self._size = 0
                self._idle.set()
                return
            for channel, reply in zip([*channels, _PROBE], replies, strict=False):
                if isinstance(reply, Exception):
                    tell_unreadable(channel, reply)
                    self._marks.replied(taken, channel, (0, 0))
                else:
                    self._marks.replied(taken, channel, reply)
                    self._clock.read(reply[2] / TICKS, sent_at)
            self._trouble.ends()
        self._idle.set()

    # -- reading --------------------------------------------------------------------------------------------------

    def load_now(self, channel: str, received: Sequence[Envelope], *, mixed: bool) -> Kept | None:
        """Redis has to be waited for."""
        return None

    async def load(
        self,
        channel: str,
        received: Sequence[Envelope],
        *,
        mixed: bool,
        cursor: Cursor | None = None,
        topics: Collection[str] = (),
    ) -> Kept | None:
        """What is kept of a channel; None when Redis does not reply, or does not have what a client needs."""
        await self._ready_to_record()
        if not self._usable_or_probe():
            return None
        sent_at = time.monotonic()
        reply = await self._call(LOAD, channel, *needed_by(cursor, topics))
        if reply is None:
            return None
        self._clock.read(reply[0] / TICKS, sent_at)
        if self._clock.reading.error > _MAX_ERROR:
            return None
        try:
            return read_kept(channel, reply, self._clock.reading, whole=self._limits.published)
        except Exception as error:
            # Whatever somebody else has put there: nothing of it is known, and clients get a gap.
            tell_unreadable(channel, error)
            return None

    async def close(self) -> None:
        """Record what waits, as far as Redis takes it within 2 s, and disconnect."""
        try:
            if self._waiting or self._marks or not self._idle.is_set():
                await self._ready_to_record()
                if self._usable_or_probe():
                    self._idle.clear()
                    self._wake.set()
                    with deadline(_TIMEOUT):
                        await self._idle.wait()
        finally:
            self._closed = True
            await end_tasks([self._writer, self._setup])
            await self._execute.close()
            await self._redis.aclose()
