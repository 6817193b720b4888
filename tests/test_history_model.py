"""Publishers, receipt, what is kept, workers' births and deaths, resumes and rewinds, in thousands of orders."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from fleet_model import TOPICS, Client, Clock, Fleet
from inngest_realtime_core._replay import channel_history, channel_log, entries, limited_entries, record
from inngest_realtime_core._replay.log import Replay
from inngest_realtime_core._replay.numbers import Numbers

SEED = int(os.environ.get("HISTORY_SEED") or time.time_ns() % 1_000_000)
ROUNDS = int(os.environ.get("HISTORY_ROUNDS") or 2_000)
ONLY = os.environ.get("HISTORY_ROUND")  # runs that round alone, each of which has a seed of its own
CLOCK_ERRORS = (0.0, 0.001, 0.05, 0.5)  # seconds within which a worker can tell the time of Redis


def rounds(count: int) -> Iterable[int]:
    return (int(ONLY),) if ONLY else range(count)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (channel_log, channel_history, entries, limited_entries, record):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(channel_log, "_now", clock.monotonic)
    return clock


def act(fleet: Fleet, rng: random.Random, *, foreign: float) -> None:
    fleet.clock.now += rng.choice((0.001, 0.01, 0.1, 0.5, 2.0))
    fleet.arrive()
    topic = rng.choice(TOPICS)
    worker = rng.choice(fleet.workers) if fleet.workers else None
    client = rng.choice(fleet.clients) if fleet.clients else None
    match rng.randrange(20):
        case 0 | 1 | 2:
            fleet.record(topic, ours=rng.random() >= foreign, streams=rng.random() < 0.5)
        case 3 | 4 | 5:
            fleet.send(topic)
        case 6 | 7 | 8 | 9 if worker is not None:
            worker.receive(topic)
            if rng.random() < 0.7:
                fleet.report()
        case 10 if worker is not None and worker.ready:
            worker.disconnect() if worker.connected else worker.reconnect()
        case 11 if worker is not None and len(fleet.workers) > rng.randrange(3):
            fleet.kill(worker)
        case 12 if len(fleet.workers) < (1 if fleet.memory else 3):
            fleet.start_worker(ready=False)
        case 13 if worker is not None and worker.connected and worker.ready and len(fleet.clients) < 4:
            new = Client(rng.choice((("a",), ("b",), TOPICS)))
            if not worker.follows(new.topics):
                return
            new.since = {topic: fleet.counts[topic] for topic in new.topics}
            fleet.clients.append(new)
            rewind = rng.choice((None, None, 1, "all"))
            new.rewound = rewind is not None
            if fleet.partial and rewind == "all":
                new.since = dict.fromkeys(new.topics, 0)
            worker.attach(new, rewind)
        case 14 if client is not None and client.worker is not None:
            client.read(rng.randrange(5))
            if rng.random() < 0.3:
                client.worker.detach(client)
        case 15 if client is not None and client.worker is None and worker is not None and worker.ready:
            if worker.follows(client.topics):
                worker.attach(client)
        case 16 if rng.random() < 0.2:
            fleet.reject(topic)
        case 17 | 18 | 19 if worker is not None:
            worker.advance()
        case _:
            pass


def check(client: Client, fleet: Fleet, *, gaps: bool, seed: str) -> None:
    """Where one publishes after the other, each topic comes in order, or a gap tells that some of it does not come."""
    last: dict[str, int] = {}
    # What is known of a channel that others publish to as well may have holes, before the gap that comes with it, and
    # where what others publish stands among what is published with a record is known by receipt alone.
    history = client.rewound and gaps
    announced: set[str] = set()
    had: set[tuple[str, int]] = set()

    def is_hole(topic: str, numbers: range) -> bool:
        # Nobody is owed what Inngest rejects, or what began to be published before they were there; what is on its way
        # may come before the gap as the latest one.
        owed = range(max(numbers.start, client.since[topic]), numbers.stop)
        return any((topic, number) not in fleet.withdrawn | had for number in owed)

    for index, (topic, number) in enumerate(client.seen):
        if topic == "gap":
            announced = set(client.topics)
            # The gap before it all is of a data stream whose start is not known.
            history = history and index == 0
            if gaps:
                # Who comes to a worker that is behind is told so, and may get again what it had.
                last.clear()
            continue
        previous = last.get(topic)
        assert previous is None or number > previous or history, (
            f"{topic} {number} after {previous}: {client.seen} ({seed})"
        )
        if previous is not None and is_hole(topic, range(previous + 1, number)):
            assert topic in announced or history, f"{topic} {previous} to {number} unannounced: {client.seen} ({seed})"
        if previous is None and is_hole(topic, range(client.since[topic], number)):
            assert topic in announced or history, f"{topic} begins at {number} ({seed})"
        last[topic] = number
        had.add((topic, number))
        announced.discard(topic)
    for topic in client.topics:
        following = last.get(topic, client.since[topic] - 1) + 1
        rest = range(max(following, client.since[topic]) if history else following, fleet.counts[topic])
        assert topic in announced or not is_hole(topic, rest), f"{topic} ends at {last.get(topic)} ({seed})"
    if not gaps:
        assert client.gaps == 0, f"gaps although all was published through us: {client.seen} ({seed})"


@pytest.mark.parametrize("foreign", [0.0, 0.3])
@pytest.mark.parametrize("limits", [Replay(max_age=600.0), Replay(size=8, max_age=600.0)], ids=["default", "small"])
def test_every_client_gets_all_in_order_once_or_is_told(clock: Clock, foreign: float, limits: Replay) -> None:
    for number in rounds(ROUNDS // 4):
        seed = f"HISTORY_SEED={SEED} HISTORY_ROUND={number}"
        rng = random.Random(f"{SEED} {foreign} {limits} {number}")
        clock.now = 1_000.0
        fleet = Fleet(clock, rng, limits, clock_errors=CLOCK_ERRORS)
        # The one case that stays silent: another publisher's first message ever, falling into a hole.
        fleet.shared.mixed = foreign > 0
        fleet.start_worker()
        for _ in range(rng.randrange(10, 150)):
            act(fleet, rng, foreign=foreign)
        fleet.settle()
        for client in fleet.clients:
            check(client, fleet, gaps=foreign > 0 or limits.size < 256, seed=seed)


@pytest.mark.parametrize("how", ["hole", "away"])
def test_who_comes_after_a_publication_began_gets_no_part_of_it_late(clock: Clock, how: str) -> None:
    fleet = Fleet(clock, random.Random(0))
    first, second = fleet.start_worker(), fleet.start_worker()
    moves, stays = Client(("a",)), Client(("a",))
    moves.since, stays.since = {"a": 0}, {"a": 2}
    fleet.clients += moves, stays
    first.attach(moves)
    fleet.record("a")
    fleet.send("a")
    first.receive("a")
    first.report()
    fleet.record("a")
    first.detach(moves)
    second.attach(moves)  # the log knows both before they are received
    second.attach(stays)
    fleet.send("a")
    second.receive("a")
    stays.read(9)
    if how == "hole":
        second.disconnect()
    else:
        second.detach(stays)
        second.receive("a")
    fleet.record("a")
    fleet.settle()
    assert moves.seen == [("a", 0), ("a", 1), ("a", 2)]
    check(stays, fleet, gaps=False, seed="")


@pytest.mark.parametrize("how", ["received", "evicted", "ahead"])
def test_what_was_on_its_way_when_a_worker_began_is_not_repeated_by_another(clock: Clock, how: str) -> None:
    fleet = Fleet(clock, random.Random(0))
    first = fleet.start_worker()
    first.load()
    fleet.record("a")
    clock.now += 1.0
    second, third = fleet.start_worker(), fleet.start_worker()
    for worker in fleet.workers:
        worker.knows_numbers = True
    moves = Client(TOPICS)
    fleet.clients.append(moves)
    fleet.send("a")
    if how == "evicted":
        # Nobody has asked for an id before.
        second.history.receive(second.queues["a"].popleft())
        second.history.kept_log().evict()
        second.attach(moves)
    else:
        second.attach(moves)
        second.receive("a")
        moves.read(9)
    second.detach(moves)
    if how == "ahead":
        fleet.record("b")
        fleet.send("b")
        for worker, topic in ((first, "b"), (third, "b"), (third, "a")):
            worker.receive(topic)
        third.attach(moves)  # where what the client has had comes after what it has not
        moves.read(9)
        third.detach(moves)
    first.disconnect()
    first.attach(moves)
    fleet.settle()
    assert moves.seen == {"received": [("a", 0)], "evicted": [], "ahead": [("a", 0), ("b", 0)]}[how]


def test_what_was_recorded_before_a_worker_began_leaves_no_hole_between_numbers() -> None:
    numbers = Numbers(100)
    numbers.add(50, 60)
    assert (*numbers,) == (60,)
    assert numbers.counted
    numbers.add(80, 110)  # whoever began at 100 is not owed 80
    assert (*numbers,) == (110,)


def test_what_was_received_long_after_a_worker_began_is_not_lost_behind_a_gap_in_its_history(clock: Clock) -> None:
    fleet = Fleet(clock, random.Random(0))
    fleet.shared.mixed = True
    first = fleet.start_worker()
    fleet.record("a")
    fleet.send("a")
    first.receive("a")
    clock.now += 1.0
    second = fleet.start_worker()
    for ours in (False, True):
        clock.now += 0.1
        fleet.record("a", ours=ours)
        fleet.send("a")
        first.receive("a")
        fleet.report()
    clock.now += 1.0
    fleet.record("b")
    fleet.send("b")
    for worker, topic in ((first, "b"), (second, "b"), (second, "a"), (second, "a")):
        worker.receive(topic)
    moves = Client(("a",), rewound=True)
    moves.since = {"a": 0}
    fleet.clients.append(moves)
    second.attach(moves, "all")
    moves.read(3)
    second.detach(moves)
    first.attach(moves)
    fleet.settle()
    assert moves.seen == [("a", 0), ("gap", 0), ("a", 1), ("a", 2)]


def test_what_a_client_makes_a_disconnected_worker_load_hides_no_hole(clock: Clock) -> None:
    fleet = Fleet(clock, random.Random(0), Replay(size=8, max_age=600.0))
    worker = fleet.start_worker()
    worker.load()
    stays = Client(("a",))
    stays.since = {"a": 0}
    fleet.clients.append(stays)
    worker.attach(stays)
    for number in range(12):
        fleet.record("a")
        fleet.send("a")
        if not number:
            worker.receive("a")
            worker.disconnect()
        clock.now += 2.0
    worker.load()
    stays.read(9)
    fleet.record("a")
    fleet.settle()
    assert stays.seen[:2] == [("a", 0), ("gap", 0)]
    check(stays, fleet, gaps=True, seed="")


def test_what_is_on_its_way_at_a_gap_comes_before_what_follows_it(clock: Clock) -> None:
    fleet = Fleet(clock, random.Random(0), Replay(size=8, max_age=600.0))
    worker = fleet.start_worker()
    stays = Client(("a",))
    stays.since = {"a": 0}
    fleet.clients.append(stays)
    worker.attach(stays)
    worker.disconnect()
    for _ in range(12):
        fleet.record("a")
        fleet.send("a")
        clock.now += 2.0
    fleet.record("a")
    worker.reconnect()
    fleet.send("a")
    clock.now += 0.1
    fleet.record("a")
    worker.attach(Client(("a",)), 1)  # makes the worker look what is kept
    fleet.settle()
    assert stays.seen == [("gap", 0), ("a", 12), ("a", 13)]


@pytest.mark.parametrize("order", ["sent before", "sent after"])
def test_what_was_published_in_the_moment_in_which_a_worker_began(clock: Clock, order: str) -> None:
    """The worker learns the time of Redis so slowly that it cannot tell from that whether it was before."""
    fleet = Fleet(clock, random.Random(0), publishers=2, clock_errors=(0.5,))
    first = fleet.start_worker()
    moves, stays = Client(("a",)), Client(("a",))
    moves.since, stays.since = {"a": 0}, {"a": 1}
    fleet.clients += moves, stays
    first.attach(moves)
    first.detach(moves)
    clock.now += 0.1
    fleet.record("a")
    if order == "sent before":
        fleet.send("a")
    clock.now += 0.1
    second = fleet.start_worker()
    second.attach(stays)
    fleet.record("a")
    fleet.send("a", fleet.in_flight["a"][-1])
    second.receive("a")
    second.attach(moves)
    fleet.settle()
    assert moves.seen == [("a", 0), ("a", 1)]
    assert stays.seen == [("a", 1)]


def check_concurrent(client: Client, fleet: Fleet, *, seed: str) -> int:
    """What is published at the same time has no order; what was sent before another was recorded comes before it.

    Returns how many came late: without Redis, what a hole swallowed may be found when later ones have been delivered.
    """
    spans = fleet.spans

    def before(one: tuple[str, int], other: tuple[str, int]) -> bool:
        return one[0] == other[0] and spans[one][1] < spans[other][0]

    seen = client.seen
    gaps = [index for index, (topic, _) in enumerate(seen) if topic == "gap"]
    messages = {item: index for index, item in enumerate(seen) if item[0] != "gap"}
    assert len(messages) + len(gaps) == len(seen), f"repeated: {seen} ({seed})"
    late = sum(
        any(at < index and before(item, other) for other, at in messages.items()) for item, index in messages.items()
    )
    for topic in client.topics:
        for number in range(client.since[topic], fleet.counts[topic]):
            item = topic, number
            if item not in messages and item not in fleet.withdrawn:
                announced = any(
                    not any(before(item, other) for other, at in messages.items() if at < gap)
                    and not any(before(other, item) for other, at in messages.items() if at > gap)
                    for gap in gaps
                )
                assert announced, f"{item} is missing: {seen} ({seed})"
    return late


@pytest.mark.parametrize("publishers", [1, 2, 3])
def test_one_process_without_redis(clock: Clock, publishers: int) -> None:
    """Where the channel was left in between, and its log with it, a gap may come."""
    gaps = 0
    for number in rounds(ROUNDS // 2):
        seed = f"HISTORY_SEED={SEED} HISTORY_ROUND={number}"
        rng = random.Random(f"{SEED} memory {publishers} {number}")
        clock.now = 1_000.0
        fleet = Fleet(clock, rng, publishers=publishers, memory=True)
        # Of a channel to which it has published nothing it does not know who does.
        fleet.record("a")
        fleet.send("a")
        left = [fleet.start_worker()]
        for _ in range(rng.randrange(10, 150)):
            act(fleet, rng, foreign=0.0)
        fleet.settle()
        for client in fleet.clients:
            check_concurrent(client, fleet, seed=seed)
            gaps += client.gaps if left == fleet.workers else 0
    assert gaps == 0


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("publishers", [1, 3])
def test_topics_that_are_asked_for_later(clock: Clock, memory: bool, publishers: int) -> None:
    for number in rounds(ROUNDS // 4):
        seed = f"HISTORY_SEED={SEED} HISTORY_ROUND={number}"
        rng = random.Random(f"{SEED} partial {memory} {publishers} {number}")
        clock.now = 1_000.0
        fleet = Fleet(
            clock,
            rng,
            publishers=publishers,
            memory=memory,
            partial=True,
            clock_errors=(0.0,) if memory else CLOCK_ERRORS,
        )
        for topic in TOPICS:
            fleet.record(topic)
            fleet.send(topic)
        clock.now += 0.1
        fleet.start_worker()
        for _ in range(rng.randrange(10, 150)):
            act(fleet, rng, foreign=0.0)
        fleet.settle()
        for client in fleet.clients:
            check_concurrent(client, fleet, seed=seed)


@pytest.mark.parametrize("how", ["never received", "given by another log", "known to another log"])
def test_what_is_published_at_once_without_redis_while_its_channel_is_left(clock: Clock, how: str) -> None:
    """Of two messages published at the same time the client has had the one, and comes back after its log is gone."""
    fleet = Fleet(clock, random.Random(0), publishers=2, memory=True)
    first = fleet.start_worker()
    client = Client(("a",))
    client.since = {"a": 0}
    fleet.clients.append(client)
    first.attach(client)
    fleet.record("a")
    if how.startswith("never"):
        fleet.record("a")
        fleet.send("a", fleet.in_flight["a"][1])
        first.receive("a")
    else:
        # Who rewinds makes it known.
        first.attach(Client(("a",)), "all")
        fleet.record("a")
    client.read(9)
    first.detach(client)
    first.disconnect()
    fleet.kill(first)
    clock.now += 2.0
    if how == "never received":
        fleet.send("a")
    else:
        if how == "known to another log":
            fleet.send("a", fleet.in_flight["a"][1])
        second = fleet.start_worker()
        fleet.send("a", fleet.in_flight["a"][0])
        second.receive("a")
        if how == "given by another log":
            second.attach(Client(("a",)), "all")
            second.disconnect()
            fleet.kill(second)
    fleet.settle()
    expected: dict[str, list[tuple[str, int]]] = {
        "never received": [("a", 1), ("a", 0)],
        "given by another log": [("a", 0), ("gap", 0)],
        "known to another log": [("a", 0), ("gap", 0)],
    }
    assert client.seen[:2] == expected[how]
    check_concurrent(client, fleet, seed="")


def play(clock: Clock, seed: int, publishers: int, number: int) -> tuple[int, int]:
    """One round of several publishers with Redis. Returns the gaps, and how many messages came late."""
    rng = random.Random(f"{seed} {publishers} {number}")
    clock.now = 1_000.0
    fleet = Fleet(clock, rng, publishers=publishers, clock_errors=CLOCK_ERRORS)
    fleet.start_worker()
    for _ in range(rng.randrange(10, 150)):
        act(fleet, rng, foreign=0.0)
    fleet.settle()
    name = f"HISTORY_SEED={seed} HISTORY_ROUND={number}"
    late = sum(check_concurrent(client, fleet, seed=name) for client in fleet.clients)
    return sum(client.gaps for client in fleet.clients), late


@pytest.mark.parametrize("publishers", [2, 3])
def test_two_who_publish_at_once_lose_nothing_in_silence(clock: Clock, publishers: int) -> None:
    for number in rounds(ROUNDS // 2):
        assert play(clock, SEED, publishers, number) == (0, 0), f"HISTORY_SEED={SEED} HISTORY_ROUND={number}"


# One in some ten thousand: what a worker missed just before, or just after, it was subscribed, by a clock that may be
# wrong by half a second; and what was on its way for longer than what was recorded after it.
@pytest.mark.parametrize(
    ("seed", "publishers", "number"), [(46, 3, 991), (50, 2, 132), (58, 3, 10), (60, 3, 421), (67, 3, 993)]
)
def test_rare_orders(clock: Clock, seed: int, publishers: int, number: int) -> None:
    assert play(clock, seed, publishers, number) == (0, 0)


def pytest_report_header() -> Any:
    return f"history seed: {SEED}"
