"""A deployment in one process and on a clock of its own: publishers, Inngest, workers, what is kept, and web clients.

Every step of the real thing is one call here, so that a test can interleave them as it likes.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec

from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.log import Kept, Replay, arrange
from inngest_realtime_core._replay.placed_log import Entry
from inngest_realtime_core._replay.resume import Selected
from inngest_realtime_core.messages.envelope import Envelope

TOPICS = ("a", "b")
CHANNEL = "c"


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 5_000.0


class Shared:
    """What Redis keeps of the channel: what was received, in the order of receipt, and then what is pending."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.messages: dict[str, tuple[float, Envelope]] = {}
        self.numbers: dict[str, float] = {}
        self.taken: dict[str, float] = {}  # when each is known to be taken by Inngest
        self.received: set[str] = set()
        self.mixed = False
        self.since = clock.now

    def publish(self, envelope: Envelope) -> None:
        if envelope.identity not in self.messages:
            self.messages[envelope.identity] = self._clock.now, envelope
            self.taken[envelope.identity] = float("inf")

    def sent(self, envelope: Envelope) -> None:
        if self.taken.setdefault(envelope.identity, float("inf")) == float("inf"):
            self.taken[envelope.identity] = self._clock.now
            self.numbers[envelope.identity] = int(max(self.numbers.values(), default=0)) + 1

    def add(self, envelope: Envelope, before: str) -> None:
        """Take what a worker has received, after a message of the same topic."""
        identity = envelope.identity
        self.received.add(identity)
        self.sent(envelope)
        if identity not in self.messages:
            self.mixed = True
            self.messages[identity] = self._clock.now, envelope
        last = self.numbers.get(before, 0)
        if self.numbers[identity] < last:
            following = min((number for number in self.numbers.values() if number > last), default=last + 2)
            self.numbers[identity] = (last + following) / 2

    def load(self) -> Kept:
        order = sorted(self.messages, key=lambda identity: self.numbers.get(identity, float("inf")))
        published = [
            (self.messages[identity][0], self.taken[identity], identity in self.received, self.messages[identity][1])
            for identity in order
        ]
        messages, pending, taken = arrange(published, self._clock.now)
        return Kept(messages, whole=not self.mixed, since=self.since, clock=5_000.0, pending=pending, taken=taken)


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
                self.seen.append((envelope.topic, int(bytes(envelope.data))))
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
        self.history = ChannelHistory(CHANNEL, fleet.limits, EventIds([b"k" * 32]))
        self.history.confirm(TOPICS)
        self.queues: dict[str, deque[Envelope]] = {topic: deque() for topic in TOPICS}
        self.last: dict[str, str] = {}
        self.connected = True
        self.clients: list[Client] = []
        self._reports: deque[tuple[Envelope, str]] = deque()

    def report(self) -> None:
        """Tell Redis what was received."""
        while self._reports:
            self._fleet.shared.add(*self._reports.popleft())

    def receive(self, topic: str) -> None:
        if self.connected and self.queues[topic]:
            envelope = self.queues[topic].popleft()
            entry = self.history.receive(envelope)
            if entry is not None:
                self._reports.append((envelope, self.last.get(topic, "")))
                self.last[topic] = envelope.identity
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
        if not self.connected:
            self.connected = True
            # What was received before is reported while the connection is being made.
            self._fleet.report()
            for entry in self.history.bridge(self._fleet.shared.load(), "reconnect", self._fleet.clock.now):
                self._give(entry)

    def attach(self, client: Client, rewind: Any = None) -> None:
        client.worker = self
        client.waiting.clear()
        client.since_offset = float("-inf")
        history = self.history
        if client.last_id:
            cursor = history.cursor(client.last_id)
            assert cursor is not None
            selected = history.resume(cursor, client.topics)
            if selected is None:
                # Those who have had a message tell so while the client connects.
                self._fleet.report()
                for entry in history.catch_up(self._fleet.shared.load()):
                    self._give(entry)
                selected = history.resume(cursor, client.topics, fresh=True)
            if selected is None:
                # It waits for what it has not received yet.
                self.drain()
                self._fleet.report()
                for entry in history.catch_up(self._fleet.shared.load()):
                    self._give(entry)
                selected = history.resume(cursor, client.topics, fresh=True)
            if selected is None:
                client.waiting.append(("expired", history.here()))
            else:
                client.give(selected)
        elif rewind is not None:
            history.merge(self._fleet.shared.load())
            resumed = history.rewind(rewind, client.topics)
            client.last_id = resumed.start_id
            client.give(resumed.selected)
        else:
            client.last_id = history.here()
            client.since_offset = history.end
        self.clients.append(client)

    def detach(self, client: Client) -> None:
        self.clients.remove(client)
        client.worker = None
        client.waiting.clear()


class Fleet:
    def __init__(self, clock: Clock, rng: random.Random, limits: Replay | None = None, publishers: int = 1) -> None:
        self.clock = clock
        self.rng = rng
        self.limits = limits or Replay()
        self.shared = Shared(clock)
        self.workers: list[Worker] = []
        self.clients: list[Client] = []
        self.publishers = publishers
        self.counts: dict[str, int] = defaultdict(int)
        self.in_flight: dict[str, list[Envelope]] = defaultdict(list)
        self.answered: list[Envelope] = []
        self.recorded_at: dict[tuple[str, bytes], float] = {}
        self.sent_at: dict[tuple[str, bytes], float] = {}
        self.step = 0
        # Of each message, when it began to be published and when Inngest took it, in steps.
        self.spans: dict[tuple[str, int], tuple[int, float]] = {}

    def report(self) -> None:
        for worker in self.workers:
            worker.report()

    def record(self, topic: str, *, ours: bool = True) -> None:
        """Begin to publish the topic's next number; as many at a time as there are publishers."""
        if len(self.in_flight[topic]) >= self.publishers:
            return
        # What the publisher knows to be sent it tells with the next one.
        self.tell_sent()
        number = self.counts[topic]
        self.counts[topic] += 1
        self.step += 1
        self.spans[topic, number] = self.step, float("inf")
        envelope = Envelope("data", msgspec.Raw(b"%d" % number), CHANNEL, topic, created_at=self._stamp())
        if ours:
            envelope.metadata = msgspec.Raw(b'{"inngest-realtime":{"id":"%s-%d"}}' % (topic.encode(), number))
            self.shared.publish(envelope)
        self.in_flight[topic].append(envelope)
        self.recorded_at[topic, bytes(envelope.data)] = self.clock.now

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.clock.time(), timezone.utc).isoformat().replace("+00:00", "Z")

    def send(self, topic: str, envelope: Envelope | None = None) -> None:
        """Inngest takes what is being published, and gives it to everyone who is connected."""
        if self.in_flight[topic]:
            envelope = envelope or self.rng.choice(self.in_flight[topic])
            self.in_flight[topic].remove(envelope)
            self.step += 1
            self.sent_at[topic, bytes(envelope.data)] = self.clock.now
            number = int(bytes(envelope.data))
            self.spans[topic, number] = self.spans[topic, number][0], self.step
            if envelope.id is not None:
                self.answered.append(envelope)
            for worker in self.workers:
                if worker.connected:
                    worker.queues[topic].append(msgspec.structs.replace(envelope, known_identity=""))
                    if self.limits.size < 256:
                        # What is received later than the log reaches back is not known to be a repetition.
                        worker.drain()

    def arrive(self) -> None:
        """Inngest answers within half a second, and all receive what it has taken.

        It does not matter where one publishes at a time and all is kept.
        """
        if self.publishers == 1 and self.limits.size >= 256:
            return
        for topic in TOPICS:
            for envelope in tuple(self.in_flight[topic]):
                if self.clock.now - self.recorded_at[topic, bytes(envelope.data)] > 0.5:
                    self.send(topic, envelope)
        for envelope in self.answered:
            if self.clock.now - self.sent_at[envelope.topic, bytes(envelope.data)] > 0.3:
                self.tell_sent()
                break
        for worker in self.workers:
            for topic, queue in worker.queues.items():
                while queue and worker.connected and self.clock.now - self.sent_at[topic, bytes(queue[0].data)] > 0.4:
                    worker.receive(topic)

    def tell_sent(self) -> None:
        """The publishers tell Redis what Inngest has taken."""
        while self.answered:
            self.shared.sent(self.answered.pop(0))

    def start_worker(self) -> Worker:
        if self.shared.mixed:
            # A worker that begins receives what others have not yet, and before them: of another publisher's messages
            # only receipt tells the order.
            for worker in self.workers:
                worker.drain()
        worker = Worker(self)
        self.workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        worker.report()
        self.workers.remove(worker)
        for client in list(worker.clients):
            worker.detach(client)

    def settle(self) -> None:
        """Let all that is under way come to its end."""
        for topic in TOPICS:
            while self.in_flight[topic]:
                self.send(topic)
        self.tell_sent()
        if not self.workers:
            self.start_worker()
        for worker in self.workers:
            worker.reconnect()
            worker.drain()
        for client in self.clients:
            if client.worker is None:
                self.rng.choice(self.workers).attach(client)
            client.read(10**6)
