"""A deployment in one process and on a clock of its own: publishers, Inngest, workers, what is kept, and web clients.

Every step of the real thing is one call here, so that a test can interleave them as it likes.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, cast

import msgspec

from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.entries import Entry
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.log import History, Kept, Numbered, Replay
from inngest_realtime_core._replay.numbers import TICKS, to_ticks
from inngest_realtime_core._replay.numbers import Clock as NumberClock
from inngest_realtime_core._replay.record import Record
from inngest_realtime_core._replay.resume import Selected
from inngest_realtime_core.messages.envelope import METADATA_KEY, Envelope

TOPICS = ("a", "b")
CHANNEL = "c"
AHEAD = 5_000.0  # seconds that the clock of Redis is ahead


def number_of(envelope: Envelope) -> int:
    return int(bytes(envelope.data).strip(b'"'))


def _metadata(added: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({METADATA_KEY: added}))


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + AHEAD


class Shared:
    """What Redis keeps of the channel, in the order of recording, or of receipt where that was another one."""

    def __init__(self, clock: Clock, size: int) -> None:
        self._clock = clock
        self._size = size
        self.messages: dict[str, Envelope] = {}
        self.numbers: dict[str, tuple[int, int]] = {}
        self.ranks: dict[str, float] = {}
        self.recorded_at: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.number = self.since = 0
        self.mixed = False
        self.created = self.now() - 1  # less than all numbers

    def now(self) -> int:
        return to_ticks(self._clock.time())

    def mark(self) -> int:
        """A number that is greater than those given before, and less than those given afterwards."""
        return max(self.number, self.now() - 1)

    def _next(self) -> int:
        self.number = max(self.now(), self.number + 1)
        return self.number

    def _keep(self, envelope: Envelope, rank: float) -> None:
        self.messages[envelope.identity] = envelope
        self.ranks[envelope.identity] = rank
        self.recorded_at[envelope.identity] = self.now()
        while len(self.messages) > self._size:
            oldest = min(self.messages, key=lambda identity: self.ranks[identity])
            self.since = max(self.since, self.numbers.get(oldest, (0, 0))[0])
            del self.messages[oldest]

    def publish(self, envelope: Envelope) -> tuple[int, int, int] | None:
        previous, number = self.last.get(envelope.topic, self.created), self._next()
        self.last[envelope.topic] = number
        self.numbers[envelope.identity] = number, previous
        self._keep(envelope, number)
        return number, previous, self.created

    def withdraw(self, envelope: Envelope) -> None:
        self.messages.pop(envelope.identity, None)
        number, previous = self.numbers[envelope.identity]
        if self.last[envelope.topic] == number:
            self.last[envelope.topic] = previous

    def add(self, envelope: Envelope, before: str) -> None:
        """Take what a worker has received, after a message of the same topic."""
        identity = envelope.identity
        last = self.ranks.get(before)
        if identity not in self.ranks:
            self.mixed = True
            self._keep(envelope, self._next() if last is None else 0)
        if last is not None and self.ranks[identity] < last:
            following = min((rank for rank in self.ranks.values() if rank > last), default=last + 2)
            self.ranks[identity] = (last + min(following, last + 2)) / 2

    def load(self, clock: NumberClock, history: ChannelHistory) -> Kept:
        messages = [
            (
                self.numbers.get(identity, (self.recorded_at[identity], 0))[0] / TICKS - clock.ahead,
                self.messages[identity],
            )
            for identity in sorted(self.messages, key=lambda identity: self.ranks[identity])
        ]
        since = max(self.since, self.created) / TICKS - clock.ahead
        numbers = Numbered(self.created, self.since, self.number, self.numbers, dict(self.last))
        return Kept(messages, whole=not self.mixed, since=since, clock=clock, numbers=numbers)


class Memory(Shared):
    """What the record of a process keeps, which publishes and subscribes itself."""

    def __init__(self, clock: Clock, limits: Replay) -> None:
        super().__init__(clock, limits.size)
        self._record = Record(limits)

    def publish(self, envelope: Envelope) -> None:
        self._record.add(envelope)

    def withdraw(self, envelope: Envelope) -> None:
        self._record.remove(envelope)

    def leave(self, history: ChannelHistory) -> None:
        """Called when the channel has been left."""
        self._record.leave(CHANNEL, history.received(), mixed=history.mixed, since=history.kept_since)

    def load(self, clock: NumberClock, history: ChannelHistory) -> Kept:
        return self._record.load(CHANNEL, history.received(), mixed=history.mixed)


@dataclass(eq=False)
class Client:
    """A browser: what it has seen, and the id that it comes back with."""

    topics: tuple[str, ...]
    worker: Worker | None = None
    last_id: str = ""
    waiting: deque[tuple[Any, str]] = field(default_factory=deque[tuple[Any, str]])
    seen: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    since: dict[str, int] = field(default_factory=dict[str, int])
    gaps: int = 0
    rewound: bool = False
    since_offset: float = float("-inf")

    def read(self, most: int) -> None:
        while self.waiting and most:
            most -= 1
            envelope, event_id = self.waiting.popleft()
            if event_id:
                self.last_id = event_id
            if isinstance(envelope, Envelope):
                self.seen.append((envelope.topic, number_of(envelope)))
            else:
                self.gaps += 1
                self.seen.append(("gap", 0))

    def give(self, selected: list[Selected]) -> None:
        self.waiting.extend((entry.envelope, event_id) for entry, event_id in selected)

    def push(self, entry: Entry) -> None:
        envelope = entry.envelope
        if not isinstance(envelope, Envelope) or envelope.topic in self.topics:
            self.waiting.append((envelope, entry.event_id))


class Worker:
    """One process that follows the channel."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # At first it does not know which numbers are given.
        self.knows_numbers = False
        self._error = fleet.rng.choice(fleet.clock_errors)
        self.history = ChannelHistory(CHANNEL, fleet.limits, EventIds([b"k" * 32]), shared=fleet.history(self))
        self.queues: dict[str, deque[Envelope]] = {topic: deque() for topic in TOPICS}
        self.connected = False
        self.ready = False
        # Of the topics that it asks for, those that Inngest delivers, and those of which ids can tell what is received.
        self._asked: set[str] = set(fleet.rng.choice((("a",), ("b",), TOPICS)) if fleet.partial else TOPICS)
        self.delivered: set[str] = set()
        self._covered: set[str] = set()
        self.clients: list[Client] = []
        self._reports: deque[tuple[Envelope, str]] = deque()

    def advance(self) -> None:
        """Subscribe to the channel; then learn when that was, and which numbers are given."""
        if not self.history.coverage:
            self.connected = True
            self.delivered |= self._asked
            self.history.confirm(sorted(self._asked))
        elif self._asked > self.delivered:
            self.delivered |= self._asked
        elif self.delivered > self.history.coverage.keys():
            self.history.confirm(sorted(self.delivered))
        elif not self.ready:
            if not self._fleet.memory:
                self.history.cover(sorted(self._asked - self._covered), self._fleet.shared.mark())
            self._covered |= self._asked
            self.ready = True
        self.knows_numbers = self.ready and (self.knows_numbers or self._fleet.rng.random() < 0.8)

    def follows(self, topics: Iterable[str]) -> bool:
        """Whether a client of these topics can be attached; else the worker is about to subscribe to them."""
        if self.ready and self.connected:
            self._asked.update(topics)
            self.ready = self._asked == self._covered
        return self._covered.issuperset(topics)

    def created(self, channel: str) -> int:
        return self._fleet.shared.created if self.knows_numbers else 0

    @property
    def clock(self) -> NumberClock:
        """As well as it can be told from an exchange that takes a while."""
        return NumberClock(AHEAD - self._fleet.rng.uniform(0, self._error), self._error)

    def report(self) -> None:
        """Tell Redis what was received."""
        while self._reports:
            self._fleet.shared.add(*self._reports.popleft())

    def receive(self, topic: str) -> None:
        if self.connected and self.queues[topic]:
            envelope = self.queues[topic].popleft()
            entry = self.history.receive(envelope)
            if entry is not None:
                if not self._fleet.memory and (not entry.number or entry.before is not None):
                    self._reports.append((envelope, "" if entry.before is None else entry.before.identity))
                self._give(entry)

    def drain(self) -> None:
        for topic in TOPICS:
            while self.connected and self.queues[topic]:
                self.receive(topic)

    def _give(self, entry: Entry) -> None:
        self.history.here()
        for client in self.clients:
            if entry.early_offset is None or client.since_offset > entry.early_offset:
                client.push(entry)

    def disconnect(self) -> None:
        self.connected = False
        for queue in self.queues.values():
            queue.clear()

    def reconnect(self) -> None:
        if not self.connected and self.ready:
            self.connected = True
            # What was received before is reported while the connection is being made.
            self._fleet.report()
            for entry in self.history.bridge(self._fleet.shared.load(self.clock, self.history), "reconnect"):
                self._give(entry)

    def attach(self, client: Client, rewind: Any = None) -> None:
        client.worker = self
        client.waiting.clear()
        client.since_offset = float("-inf")
        history = self.history
        if client.last_id:
            cursor = history.cursor(client.last_id)
            assert cursor is not None
            if self._fleet.memory and history.must_load(cursor, client.topics):
                self.load()
            selected = history.resume(cursor, client.topics)
            for drains in (False, True):
                if selected is None:
                    if drains:
                        # It waits for what it has not received yet.
                        self.drain()
                    # Those who have had a message of another publisher tell so while the client connects.
                    self._fleet.report()
                    self.load()
                    selected = history.resume(cursor, client.topics)
            if selected is None:
                client.waiting.append(("expired", history.here()))
            else:
                client.give(selected)
        elif rewind is not None:
            if not history.knows(client.topics):
                self.load()
            selected, start_id = history.rewind(rewind, client.topics)
            client.last_id = start_id
            client.give(selected)
        else:
            client.last_id = history.here()
            client.since_offset = history.end
        self.clients.append(client)

    def load(self) -> None:
        for entry in self.history.catch_up(self._fleet.shared.load(self.clock, self.history)):
            self._give(entry)

    def detach(self, client: Client) -> None:
        self.clients.remove(client)
        client.worker = None
        client.waiting.clear()


class Fleet:
    """Publishers, Inngest, workers and clients.

    Args:
        publishers: How many messages of a topic may be on their way to Inngest at the same time.
        patience: Seconds after its recording within which a message has been received by all who are connected.
        clock_errors: Seconds within which a worker can tell the time that Redis has.
        memory: Whether there is no Redis, and one process.
        partial: Whether a worker asks Inngest for the topics that its clients want, and no others.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        limits: Replay | None = None,
        publishers: int = 1,
        patience: float = 9.0,
        clock_errors: Sequence[float] = (0.0,),
        memory: bool = False,
        partial: bool = False,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.limits = limits or Replay(max_age=600.0)
        self.memory = memory
        self.partial = partial
        self.shared = Memory(clock, self.limits) if memory else Shared(clock, self.limits.size)
        self.workers: list[Worker] = []
        self.clients: list[Client] = []
        self.publishers = publishers
        self.patience = patience
        self.clock_errors = clock_errors
        self.counts: dict[str, int] = defaultdict(int)
        self.in_flight: dict[str, list[Envelope]] = defaultdict(list)
        self.recorded_at: dict[tuple[str, int], float] = {}
        self.withdrawn: set[tuple[str, int]] = set()
        self.step = 0
        # Of each message, when it began to be published and when Inngest took it, in steps.
        self.spans: dict[tuple[str, int], tuple[int, float]] = {}
        self._stream: dict[str, tuple[str, int]] = {}

    def history(self, worker: Worker) -> History | None:
        """What is kept for all, if anything is."""
        return None if self.memory else cast("History", worker)

    def report(self) -> None:
        for worker in self.workers:
            worker.report()

    def record(self, topic: str, *, ours: bool = True, streams: bool = False) -> None:
        """Begin to publish the topic's next number; as many at a time as there are publishers.

        Args:
            ours: Whether it is recorded.
            streams: Whether it is a part of a data stream, if it is not recorded.
        """
        if len(self.in_flight[topic]) >= self.publishers:
            return
        self.clock.now += 0.0001
        number = self.counts[topic]
        self.counts[topic] += 1
        self.step += 1
        self.spans[topic, number] = self.step, float("inf")
        envelope = Envelope("data", msgspec.Raw(b"%d" % number), CHANNEL, topic, created_at=self._stamp())
        if ours:
            added: dict[str, Any] = {"id": f"{topic}-{number}"}
            envelope.metadata = _metadata(added)
            if (seq := self.shared.publish(envelope)) is not None:
                added["seq"] = seq
            envelope = msgspec.structs.replace(envelope, metadata=_metadata(added))
        elif streams:
            self._put_into_stream(envelope, number)
        self.in_flight[topic].append(envelope)
        self.recorded_at[topic, number] = self.clock.now

    def _put_into_stream(self, envelope: Envelope, number: int) -> None:
        stream_id, index = self._stream.get(envelope.topic, ("", 0))
        envelope.data = msgspec.Raw(b'"%d"' % number)
        if not stream_id:
            envelope.kind, envelope.stream_id = "datastream-start", str(number)
            self._stream[envelope.topic] = str(number), 0
        elif index < 2:
            envelope.kind, envelope.stream_id, envelope.index, envelope.created_at = "chunk", stream_id, index, None
            self._stream[envelope.topic] = stream_id, index + 1
        else:
            envelope.kind, envelope.stream_id = "datastream-end", stream_id
            del self._stream[envelope.topic]

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.clock.time(), timezone.utc).isoformat().replace("+00:00", "Z")

    def send(self, topic: str, envelope: Envelope | None = None) -> None:
        """Inngest takes what is being published, and gives it to everyone who is connected."""
        if self.in_flight[topic]:
            envelope = envelope or self.rng.choice(self.in_flight[topic])
            self.in_flight[topic].remove(envelope)
            self.step += 1
            number = number_of(envelope)
            self.spans[topic, number] = self.spans[topic, number][0], self.step
            for worker in self.workers:
                if worker.connected and topic in worker.delivered:
                    worker.queues[topic].append(msgspec.structs.replace(envelope, known_identity=""))

    def reject(self, topic: str) -> None:
        """Inngest rejects what is being published with a record."""
        for envelope in self.in_flight[topic]:
            if envelope.id is not None:
                self.in_flight[topic].remove(envelope)
                self.withdrawn.add((topic, number_of(envelope)))
                self.shared.withdraw(envelope)
                return

    def arrive(self) -> None:
        """Whatever was published long ago is received."""
        for topic in TOPICS:
            for envelope in tuple(self.in_flight[topic]):
                if self._is_late(envelope, 0.9):
                    self.send(topic, envelope)
        for worker in self.workers:
            for topic, queue in worker.queues.items():
                while queue and worker.connected and any(self._is_late(each, 1.0) for each in queue):
                    worker.receive(topic)

    def _is_late(self, envelope: Envelope, share: float) -> bool:
        return self.clock.now - self.recorded_at[envelope.topic, number_of(envelope)] >= self.patience * share

    def start_worker(self, *, ready: bool = True) -> Worker:
        """Returns one that is about to subscribe, or has."""
        if self.shared.mixed:
            # A worker that begins receives what others have not yet, and before them: of another publisher's messages
            # only receipt tells the order.
            for worker in self.workers:
                worker.drain()
        worker = Worker(self)
        self.workers.append(worker)
        while ready and not worker.ready:
            worker.advance()
        return worker

    def kill(self, worker: Worker) -> None:
        worker.report()
        if isinstance(self.shared, Memory):
            self.shared.leave(worker.history)
        self.workers.remove(worker)
        for client in list(worker.clients):
            worker.detach(client)

    def settle(self) -> None:
        """Let all that is under way come to its end."""
        for topic in TOPICS:
            while self.in_flight[topic]:
                self.send(topic)
        if not self.workers:
            self.start_worker()
        for worker in self.workers:
            while not worker.ready:
                worker.advance()
            worker.knows_numbers = True
            worker.reconnect()
            worker.drain()
        for client in self.clients:
            if client.worker is None:
                worker = self.rng.choice(self.workers)
                while not worker.follows(client.topics):
                    worker.advance()
                worker.attach(client)
            client.read(10**6)
