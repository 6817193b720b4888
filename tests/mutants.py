"""Wrong lines, and the test that catches each: `nox -s mutants`.

Each mutant is put into a copy of the tree, and a process of its own runs tests there: for the floors `_upstream`,
`_hub` and `_replay` those of the floor that need no sockets, which take seconds together, and for the protections that
`attack_mutants` lists the one test that stands for each. `survives` says why none fails: because nobody could tell the
difference, or what would tell it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# What the tests import of others, so that the process of each mutant has it.
import httpx  # noqa: F401
import hypothesis.strategies  # noqa: F401
import pydantic  # noqa: F401
import pytest
import starlette.applications  # noqa: F401
import uvicorn  # noqa: F401
import websockets.asyncio.client  # noqa: F401

from attack_mutants import ATTACKS

ROOT = Path(__file__).parent.parent
CORE = "inngest_realtime_core"
# What the tests need of the tree.
COPIED = (CORE, "integrations", "tests", "docs", "examples", "benchmarks", "pyproject.toml", "README.md")
IGNORED = shutil.ignore_patterns("node_modules", ".hypothesis", ".*_cache")
TESTS = {
    "_upstream/batching.py": "batching dialer",
    "_upstream/connecting.py": "upstream handover",
    "_upstream/connection.py": "connection dialer upstream",
    "_upstream/dialer.py": "dialer upstream",
    "_upstream/handover.py": "handover",
    "_upstream/joining.py": "upstream handover sharing",
    "_upstream/merge.py": "merge handover",
    "_upstream/registry.py": "registry upstream",
    "_upstream/throttle.py": "throttle connection",
    "_upstream/transport.py": "transport",
    "_upstream/upstream.py": "upstream handover",
    "_hub/placement.py": "placement sharing",
    "_hub/recall.py": "recall sharing",
    "_hub": "sharing recall buffer",
    "_replay/channel_history.py": "channel_log history_model",
    "_replay/numbers.py": "history_model",
    "_replay/record.py": "record channel_log",
    "_replay": "channel_log",
}


@dataclass(frozen=True)
class Mutant:
    """A wrong line.

    Attributes:
        file: Below the core, or below the root.
        right: The text that is replaced; it occurs once.
        wrong: What takes its place.
        survives: Why no test fails, where none does.
        test: The one that is to fail, where it is not any of the floor's.
    """

    name: str
    file: str
    right: str
    wrong: str
    survives: str = ""
    test: str = ""

    @property
    def path(self) -> Path:
        """From the root."""
        below = Path(CORE) / self.file
        return below if (ROOT / below).exists() else Path(self.file)

    @property
    def tests(self) -> list[str]:
        """Arguments for pytest."""
        if self.test:
            return [f"tests/attacks/{self.test}"]
        names = (TESTS.get(self.file) or TESTS[self.file.partition("/")[0]]).split()
        return [f"tests/test_{name}.py" for name in names]


MUTANTS = [
    # The eight of old, each of which survived the fast tests once.
    Mutant("the gate is never told of a success", "_upstream/connecting.py", "self._retry_gate.succeeded()", "pass"),
    Mutant(
        "the token goes to the target of a redirect",
        "_upstream/transport.py",
        "if protocol.uri == address:",
        "if True:",
    ),
    Mutant(
        "a topic that was left while being subscribed is never unsubscribed",
        "_upstream/registry.py",
        "if channel not in self._subscribers:\n                # It left",
        "if False:\n                # It left",
    ),
    Mutant(
        "the token size of a leaver is never given back",
        "_upstream/registry.py",
        "self._subscribers.pop(channel, None)\n        self.token_size -= self._sizes.pop(channel, 0)",
        "self._subscribers.pop(channel, None)",
    ),
    Mutant("the backlog is unbounded", "_upstream/connection.py", "_BACKLOG: Final = 8_192", "_BACKLOG: Final = 10**9"),
    Mutant(
        "no limit of channels per socket",
        "_hub/placement.py",
        "_CHANNELS_PER_SOCKET: Final = 1_000",
        "_CHANNELS_PER_SOCKET: Final = 10**9",
    ),
    Mutant(
        "predecessors of a handover are kept alive",
        "_upstream/handover.py",
        "        self._before = None\n        self._route_all",
        "        self._route_all",
    ),
    Mutant(
        "leavers are always served before joiners",
        "_upstream/upstream.py",
        "        if self._joiner.ready:\n            await self._joiner.subscribe(connection, self._handovers.adopt)\n"
        "        elif self._registry.departing:\n            await self._joiner.unsubscribe(connection)",
        "        if self._registry.departing:\n            await self._joiner.unsubscribe(connection)\n"
        "        elif self._joiner.ready:\n            await self._joiner.subscribe(connection, self._handovers.adopt)",
    ),
    # Four that survived later.
    Mutant(
        "rejected topics stay wanted",
        "_hub/hub.py",
        "            feed.withdraw(set(topics) - feed.confirmed)\n",
        "",
    ),
    Mutant(
        "retaking does not wait for leaving",
        "_hub/hub.py",
        "while not self.shutting_down and (left := self._leaving.get(key)) is not None:",
        "while (left := None) is not None:",
    ),
    Mutant(
        "leavers are released before the socket is closed",
        "_upstream/joining.py",
        "            if not registry.empty:\n                registry.release(leavers)",
        "            if True:\n                registry.release(leavers)",
    ),
    Mutant(
        "an upstream that has ended is used",
        "_hub/hub.py",
        "if feed is None or not feed.upstream.alive:",
        "if feed is None:",
    ),
    # The connection floor.
    Mutant(
        "the old connection delivers on after the switch",
        "_upstream/merge.py",
        "        if topic.switched:\n            return\n        stream_id",
        "        stream_id",
    ),
    Mutant(
        "what the old one brought ahead is never forgotten",
        "_upstream/merge.py",
        "            topic.ahead.discard(identity)\n            if envelope",
        "            if envelope",
    ),
    Mutant("a held message is held for ever", "_upstream/merge.py", "topic.held[identity] = envelope", "pass"),
    Mutant(
        "a pong that failed is proof",
        "_upstream/connection.py",
        "alive = pong.done() and not pong.cancelled() and pong.exception() is None",
        "alive = pong.done() and (pong.cancelled() or pong.exception() is None or True)",
    ),
    Mutant(
        "the keepalive outlives its connection",
        "_upstream/connection.py",
        "                await end_tasks([keepalive])",
        "                pass",
    ),
    Mutant(
        "a connection counts before it is proved",
        "_upstream/dialer.py",
        "                await connection.confirm()\n                for batch",
        "                for batch",
    ),
    Mutant(
        "a departure counts before it is proved",
        "_upstream/dialer.py",
        "            await connection.send(frame)\n        await connection.confirm()",
        "            await connection.send(frame)",
    ),
    Mutant(
        "the connection of a failed attempt stays open",
        "_upstream/dialer.py",
        "                await connection.close()\n                length",
        "                length",
    ),
    Mutant(
        "nothing comes between leaving and coming back",
        "_upstream/joining.py",
        "await sleep(_LEAVE_PAUSE)",
        "pass",
    ),
    Mutant(
        "who joins during a handover waits for the old connection",
        "_upstream/joining.py",
        "            adopt(result.entries)\n",
        "",
    ),
    Mutant(
        "a channel that came back loses its topics",
        "_upstream/registry.py",
        "gone = [entry for entry in leaving if entry[0] not in self._subscribers]",
        "gone = list(leaving)",
    ),
    Mutant(
        "a lost connection is not reported",
        "_upstream/registry.py",
        "            subscriber.report(error)\n\n    def clear",
        "            pass\n\n    def clear",
    ),
    Mutant(
        "the first rejection of a reconnect is final",
        "_upstream/connecting.py",
        "or self._rejections >= 2",
        "or self._rejections >= 1",
    ),
    Mutant(
        "rejections are counted for ever",
        "_upstream/connecting.py",
        "        self._rejections = 0\n        self._foreign_since = None\n        self._retry_gate",
        "        self._foreign_since = None\n        self._retry_gate",
    ),
    Mutant(
        "who joins waits for the whole pause",
        "_upstream/connecting.py",
        "min(seconds, _MAX_JOIN_WAIT) if self._registry.joining else seconds",
        "seconds",
    ),
    Mutant(
        "the gate is never told of a failure",
        "_upstream/connecting.py",
        "                self._retry_gate.failed(error)",
        "                pass",
    ),
    Mutant(
        "the old connection is left before it has delivered all",
        "_upstream/handover.py",
        "return self._drained and time.monotonic()",
        "return time.monotonic()",
    ),
    Mutant(
        "the overlap has no length",
        "_upstream/handover.py",
        "time.monotonic() - self._since >= _OVERLAP and self.merge.settled",
        "self.merge.settled",
    ),
    Mutant(
        "the echo begins with the handover",
        "_upstream/handover.py",
        "        self._since = time.monotonic()\n        await self.old.close()",
        "        await self.old.close()",
    ),
    Mutant(
        "pauses are saved up without bound",
        "_upstream/throttle.py",
        "min(_LONGEST, self._credit + messages * _SHARE)",
        "self._credit + messages * _SHARE",
    ),
    Mutant(
        "a successor of a successor is sought",
        "_upstream/handover.py",
        "if not connection.closing or self.old is not None or self._due == math.inf:",
        "if not connection.closing or self._due == math.inf:",
    ),
    Mutant(
        "a token fills a frame to its last byte",
        "_upstream/batching.py",
        "_FRAME_BUDGET: Final = MAX_CLIENT_FRAME - 1_024",
        "_FRAME_BUDGET: Final = MAX_CLIENT_FRAME",
    ),
    # Who shares what.
    Mutant(
        "what was never read lingers",
        "_hub/hub.py",
        "or self.shutting_down or not feed.was_read:",
        "or self.shutting_down:",
    ),
    Mutant(
        "a channel that is taken again lingers out",
        "_hub/hub.py",
        "        feed.acquire()\n        self._cancel_linger(feed)",
        "        feed.acquire()",
    ),
    Mutant(
        "what is being opened outlives the shutdown", "_hub/hub.py", "            opening.cancel()", "            pass"
    ),
    Mutant("sockets outlive their hub", "_hub/hub.py", "        await self._placement.close()", "        pass"),
    Mutant(
        "topics that nobody asked for are delivered",
        "_hub/feed.py",
        'if envelope.topic not in self.topics and envelope.kind != "run":',
        "if False:",
    ),
    Mutant(
        "a lost connection cuts off no data stream", "_hub/feed.py", "        self._streams.interrupt_all(_LOST)\n", ""
    ),
    Mutant(
        "who comes to an ended channel waits for ever",
        "_hub/feed.py",
        "            buffer.end(*self._end)",
        "            pass",
    ),
    Mutant("a failed channel is kept", "_hub/feed.py", "        self._owner.forget(self)\n", ""),
    Mutant(
        "a subscription that nobody holds stays open",
        "_hub/readers.py",
        "if not self._holds and len(self._attached) == (self.own in self._attached):",
        "if False:",
    ),
    Mutant(
        "every event stream begins at the beginning",
        "_hub/readers.py",
        "since, self._first_offset = self._first_offset, None",
        "since = self._first_offset",
    ),
    Mutant("a key of one's own shares a socket", "_hub/placement.py", "or source.key is not None or", "or"),
    Mutant(
        "two readers get one object",
        "_hub/groups.py",
        "in readers[1:]:\n                    buffer.push(twin(message, message.event_id), size)",
        "in readers[1:]:\n                    buffer.push(message, size)",
    ),
    Mutant(
        "two readers of other topics get one object",
        "_hub/groups.py",
        "elif id(message) in given:",
        "elif False:",
    ),
    # What is kept.
    Mutant(
        "a message is in the log twice", "_replay/channel_log.py", "other.topic == topic and other.id == id", "False"
    ),
    Mutant(
        "nothing grows too old",
        "_replay/limited_entries.py",
        " or entries[0].at < too_old):",
        "):",
    ),
    Mutant(
        "what is evicted is not remembered",
        "_replay/limited_entries.py",
        "            self.evicted[topic] = offset, envelope.identity, number",
        "            pass",
    ),
    Mutant(
        "a gap that is evicted is forgotten",
        "_replay/limited_entries.py",
        "                self.floor = self.first + 1",
        "                pass",
    ),
    Mutant(
        "bytes have no limit",
        "_replay/limited_entries.py",
        "while entries and (excess > 0 or self.kept_bytes > self._max_bytes or entries",
        "while entries and (excess > 0 or entries",
    ),
    Mutant(
        "the message at the cursor is skipped",
        "_replay/resume.py",
        "if at >= offset and _concerns(entry, concerned)",
        "if at > offset and _concerns(entry, concerned)",
    ),
    Mutant(
        "one evicted message is overlooked",
        "_replay/resume.py",
        "if evicted >= offset and topic in concerned:",
        "if evicted > offset and topic in concerned:",
    ),
    Mutant(
        "a topic that was not followed is taken for empty",
        "_replay/resume.py",
        "if coverage is None or coverage.offset > offset:",
        "if coverage is None:",
    ),
    Mutant(
        "what was recorded before a worker began follows what it received",
        "_replay/channel_history.py",
        "is_before = number <= covered and at - log.clock.error <= began",
        "is_before = False",
    ),
    Mutant(
        "a topic that is asked for later is taken for known",
        "_replay/channel_history.py",
        "return self.loaded and self._known.issuperset(topics)",
        "return self.loaded",
    ),
    Mutant(
        "offsets in front are used twice by one topic",
        "_replay/channel_log.py",
        "if topic not in self.evicted_last:",
        "if True:",
    ),
    Mutant("a cursor in the future is believed", "_replay/resume.py", "if offset > log.end or (", "if ("),
    Mutant(
        "an id need not be authentic",
        "_replay/event_ids.py",
        "if not any(compare_digest(_tag(key, channel, text), tag) for key in self._keys):",
        "if False:",
    ),
    Mutant(
        "an id is good for every channel", "_replay/event_ids.py", 'blake2b(f"{channel}\\n{text}"', 'blake2b(f"{text}"'
    ),
    Mutant(
        "an id that names too little is believed",
        "_replay/resume.py",
        "if not cursor.complete or (",
        "if (",
    ),
    Mutant("each chunk counts", "_replay/resume.py", "rest - (envelope.kind in _COUNTED)", "rest - 1"),
    Mutant(
        "a rewind gives all topics",
        "_replay/resume.py",
        "        elif envelope.topic in concerned:\n            rest",
        "        elif True:\n            rest",
    ),
    Mutant(
        "a mixed channel is bridged",
        "_replay/channel_history.py",
        "if kept is not None and kept.whole and not self.mixed and",
        "if kept is not None and kept.whole and",
    ),
    Mutant(
        "a part bridges a hole",
        "_replay/channel_history.py",
        "if kept is not None and kept.whole and not self.mixed and",
        "if kept is not None and not self.mixed and",
    ),
    Mutant(
        "a hole in the numbers is overlooked",
        "_replay/numbers.py",
        "elif not self.spans and previous <= max(self.low, self._began):",
        "elif not self.spans:",
    ),
    Mutant(
        "what a client had elsewhere is given to it again",
        "_replay/numbers.py",
        "if other.counted and other.low > self.low:",
        "if False:",
    ),
    Mutant(
        "what was withdrawn stays",
        "_replay/record.py",
        "if channel is not None and known is not None and known.envelope is not None:",
        "if False:",
    ),
    Mutant(
        "another publisher is not noticed",
        "_replay/record.py",
        " or any(envelope.identity not in messages for envelope in received)",
        "",
    ),
    Mutant(
        "the record claims what it has evicted",
        "_replay/record.py",
        "            channel.since = max(channel.since, at)\n",
        "",
    ),
    Mutant(
        "the order of receipt is not learnt",
        "_replay/record.py",
        "if before is not None and known.number < before.number:",
        "if False:",
    ),
    Mutant(
        "the order of receipt is forgotten",
        "_replay/record.py",
        "ordered = sorted(channel.messages.values(), key=lambda message: message.number)",
        "ordered = list(channel.messages.values())",
    ),
    # Where a new channel of Redis is opened, and its first bytes do not wait.
    Mutant(
        "what came while ids were waited for keeps those that were made before",
        "_hub/recall.py",
        "twin(each, log.id_before(at + 1)) for each, at in named",
        "each for each, at in named",
    ),
    Mutant(
        "ready stands behind what came while ids were waited for",
        "_hub/recall.py",
        "buffer.start_id = estimate if first is None else log.id_before(first)",
        "pass",
    ),
    Mutant(
        "ready stands behind what was dropped while ids were waited for",
        "_hub/recall.py",
        "first = None if missed else found[0]",
        "first = found[0]",
    ),
    Mutant(
        "a page is told of nothing that it lost while ids were waited for",
        "_hub/recall.py",
        "            buffer.miss(missed)\n",
        "",
    ),
    Mutant(
        "ids do not wait for what tells them",
        "_hub/feed.py",
        "if buffer.events and buffer.catch_up is None and not self._is_covered:",
        "if False:",
    ),
    Mutant(
        "who has left while ids were waited for is given them",
        "_hub/recall.py",
        "        if buffer.detached:\n            return\n",
        "",
        survives="its buffer was emptied when it left",
    ),
    # What is asked elsewhere, and what comes meanwhile.
    Mutant("what is held has no limit in number", "_hub/recall.py", "len(self.envelopes) > _MAX_HELD or ", ""),
    Mutant("what is held has no limit in bytes", "_hub/recall.py", " or self.held_bytes > _MAX_HELD_BYTES", ""),
    Mutant(
        "a hole is filled although something behind it was dropped",
        "_hub/recall.py",
        "self._bridge(kept if held.whole else None)",
        "self._bridge(kept)",
    ),
    Mutant(
        "what is dropped of what is held is forgotten",
        "_hub/recall.py",
        "self.whole = self.whole and not self.envelopes",
        "pass",
    ),
    Mutant(
        "what was held is not given out",
        "_hub/recall.py",
        "                self._bridge(kept if held.whole else None)\n                self._release_held()",
        "                self._bridge(kept if held.whole else None)",
    ),
    Mutant(
        "the gap before what has come since moves its client on",
        "_hub/recall.py",
        "event_id = None if waiting else ",
        "event_id = ",
    ),
    Mutant(
        "what has come since is lost behind a gap",
        "_hub/recall.py",
        "event_id=event_id), *waiting]",
        "event_id=event_id)]",
    ),
    Mutant(
        "the key of ids is not waited for", "_hub/recall.py", "            await self._shared.ready(_PATIENCE)\n", ""
    ),
    Mutant(
        "what a client had elsewhere is looked for once", "_hub/recall.py", "for pause in _PAUSES:", "for pause in ():"
    ),
    Mutant(
        "who comes back is answered before ids are known",
        "_hub/recall.py",
        "        await self._covered()\n        if cursor is None",
        "        if cursor is None",
    ),
    Mutant(
        "who rewinds is answered before ids are known",
        "_hub/recall.py",
        "        await self._covered()\n        history = self.history\n        if not history.knows(spec.topics)",
        "        history = self.history\n        if not history.knows(spec.topics)",
    ),
    Mutant(
        "a hole is asked about before ids are known",
        "_hub/recall.py",
        "            await self._covered()\n            kept =",
        "            kept =",
    ),
    Mutant(
        "who rewinds loses what came while it was asked",
        "_hub/recall.py",
        "selected, buffer.start_id = history.rewind(rewind, spec.topics, since,",
        "selected, buffer.start_id = history.rewind(rewind, spec.topics, None,",
    ),
    Mutant("resumes with a gap are not counted", "_hub/recall.py", "self._counters.resumes_gapped += gapped", "pass"),
    # Frames are cut out of what is read.
    Mutant("a size of 16 bits is read as one of 64", "_upstream/transport.py", "2 if size == 126 else 8", "8"),
    Mutant(
        "a mask is taken for a size",
        "_upstream/transport.py",
        "if size < 128 else _HARD_LIMIT + 1",
        "if size < 256 else 0",
    ),
    Mutant(
        "a message in the middle of another is taken",
        "_upstream/transport.py",
        "head == _WHOLE_TEXT and not self._fragmented:",
        "head == _WHOLE_TEXT:",
    ),
    Mutant("a ping ends a message in parts", "_upstream/transport.py", "if head & 15 < 8:", "if True:"),
    Mutant(
        "a frame may have any size",
        "_upstream/transport.py",
        "elif until <= end or size > _HARD_LIMIT:",
        "elif until <= end:",
    ),
    Mutant(
        "the server's closing frame is lost behind a ping",
        "_upstream/transport.py",
        "                    super().data_received(data[until:])\n                    return",
        "                    return",
    ),
    Mutant(
        "frames are read on after the last one",
        "_upstream/transport.py",
        "                    self._passing = True\n                    super()",
        "                    super()",
    ),
    Mutant(
        "the rest of a cut frame is waited for too long",
        "_upstream/transport.py",
        "needed = until - at\n                break",
        "needed = until\n                break",
    ),
    Mutant(
        "what came before the receiver is lost",
        "_upstream/transport.py",
        "        for frame in self._early:\n            receiver.accept(frame)\n",
        "",
    ),
    Mutant(
        "who is attached after the end is not told",
        "_upstream/transport.py",
        "        if self.state is State.CLOSED:\n            receiver.cut()\n",
        "",
    ),
    Mutant("a cut frame is read twice", "_upstream/transport.py", "            unfinished.clear()\n", ""),
    Mutant(
        "a byte of a cut frame is lost",
        "_upstream/transport.py",
        "        if at < end:\n",
        "        if at < end - 1:\n",
    ),
    Mutant("what comes with the handshake is lost", "_upstream/transport.py", "return data[begin:]", 'return b""'),
    Mutant(
        "the parser of the handshake keeps a part of a frame",
        "_upstream/transport.py",
        'data.find(b"\\n", begin) + 1 or len(data)',
        "len(data)",
    ),
    Mutant(
        "one byte more is waited for",
        "_upstream/transport.py",
        "len(data), 2",
        "len(data), 1",
        survives="whatever is read next has a byte more",
    ),
    Mutant(
        "fragments are kept after their message",
        "_upstream/transport.py",
        'whole, self._fragments = b"".join(self._fragments), None',
        'whole = b"".join(self._fragments)',
        survives="websockets takes no continuation of a message that has ended",
    ),
    # What is recorded of what is published.
    Mutant(
        "what was withdrawn is not recorded again",
        "_replay/record.py",
        "                if known.envelope is not None:\n                    return\n",
        "                return\n",
    ),
    Mutant(
        "the record has any number of channels",
        "_replay/record.py",
        "while len(self._channels) > _CHANNELS or (",
        "while (",
    ),
    Mutant(
        "a channel that went is known from the beginning",
        "_replay/record.py",
        "                self._since = now\n",
        "                pass\n",
    ),
    Mutant(
        "the bytes of a channel that went are counted on",
        "_replay/record.py",
        "                self.kept_bytes -= oldest.bytes\n",
        "",
    ),
    Mutant(
        "an order that two logs had differently counts",
        "_replay/record.py",
        "known.is_ambiguous = known.received",
        "pass",
    ),
    Mutant(
        "a log that goes moves what is of other topics",
        "_replay/record.py",
        "                        and envelope.topic == topic\n",
        "",
    ),
    Mutant(
        "a log that goes moves what others had",
        "_replay/record.py",
        "                        and not each.received\n",
        "",
    ),
    Mutant(
        "a log that goes moves what is old", "_replay/record.py", "                        and each.at >= since_\n", ""
    ),
    Mutant(
        "a channel that is published to goes", "_replay/record.py", "        self._channels.move_to_end(name)\n", ""
    ),
    Mutant(
        "another publisher that was received is not noticed",
        "_replay/record.py",
        "channel.mixed or mixed or any",
        "channel.mixed or any",
    ),
]


class Failures:
    """A plugin of pytest that collects which tests failed, and after how many seconds, and how many passed."""

    def __init__(self) -> None:
        self.found: list[tuple[str, float]] = []
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.found.append((report.nodeid, report.duration))
        self.passed += report.passed and report.when == "call"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.found.append((report.nodeid, 0.0))


def run_tests(mutant: Mutant, results: int) -> None:
    """Runs the tests of a mutant in this process, and writes the failures to a descriptor."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=IGNORED)
            else:
                shutil.copy2(ROOT / name, tree / name)
        (tree / mutant.path).write_text((ROOT / mutant.path).read_text().replace(mutant.right, mutant.wrong))
        os.chdir(tree)
        places = [str(tree), str(tree / "integrations")]
        sys.path[:] = places + [place for place in sys.path if not place.startswith(str(ROOT / "tests"))]
        os.environ["PYTHONPATH"] = os.pathsep.join(places)  # of the servers that tests start
        failures = Failures()
        # Also what servers print that the tests start.
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", *([] if mutant.test else ["--timeout=20"])]
        try:
            pytest.main([*options, *mutant.tests], plugins=[failures])
        except Exception:
            # What the failed test left open is complained of when pytest ends.
            if not failures.found:
                raise
        found = failures.found or ([] if failures.passed else [("no test has run", 0.0)])
        os.write(results, json.dumps(found).encode())


def outcome(mutant: Mutant) -> tuple[str, float]:
    """The test that catches a mutant, empty when it survives; and its seconds."""
    found = (ROOT / mutant.path).read_text().count(mutant.right)
    if found != 1:
        return f"does not apply: its text is there {found} times", 0.0
    # The child has what does not change imported already.
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            run_tests(mutant, writing)
        except BaseException as error:
            os.write(writing, json.dumps([[f"no test could run: {error!r}", 0.0]]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as results:
        text = results.read()
    os.waitpid(child, 0)
    failed = json.loads(text or '[["the tests do not end", 0.0]]')
    return (failed[0][0].removeprefix("tests/"), failed[0][1]) if failed else ("", 0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only the mutants whose file or name holds one of these")
    words = parser.parse_args().words
    os.chdir(ROOT)
    unexpected = 0
    attacks = [
        Mutant(f"attacks, {file}: {right.strip().splitlines()[0]}", file, right, wrong, test=test)
        for test, file, right, wrong in ATTACKS
    ]
    chosen = [
        mutant
        for mutant in (*MUTANTS, *attacks)
        if not words or any(word in f"{mutant.file} {mutant.name} {mutant.test}" for word in words)
    ]
    for file, test in sorted({(mutant.file if not mutant.test else "__init__.py", mutant.test) for mutant in chosen}):
        # Without a wrong line nothing fails.
        text = (ROOT / CORE / file).read_text()
        caught, _ = outcome(Mutant("", file, text, text, test=test))
        if caught:
            print(f"! {test or file} as it is: {caught}", flush=True)
            unexpected += 1
    for mutant in chosen:
        caught, seconds = outcome(mutant)
        # A file that cannot be imported has no `::`: it is no test that fails.
        by_a_test = caught.startswith(("test_", "attacks/", "devserver/")) and "::" in caught
        as_said = by_a_test is not bool(mutant.survives)
        unexpected += not as_said
        said = f"{caught} ({seconds:.2f} s)" if caught else f"survives: {mutant.survives or 'nobody knows why'}"
        print(f"{'  ' if as_said else '! '}{mutant.name}: {said}", flush=True)
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
