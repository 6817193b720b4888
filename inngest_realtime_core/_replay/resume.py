"""What a client gets first that comes back to a channel, or comes late: entries of the channel's log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from operator import itemgetter
from typing import Final

from ..arguments import Rewind
from ..messages.envelope import Envelope
from ..messages.message import GapReason
from ..messages.timestamps import parse_timestamp, sortable
from .channel_log import ChannelLog
from .entries import Entry
from .event_ids import NO_LOG, Cursor, name_of, topic_tag
from .numbers import Numbers
from .position import Position

_LAG: Final = 1.0  # seconds
_COUNTED: Final = frozenset({"data", "run", "datastream-start"})
_SKEW: Final = timedelta(seconds=2)  # how far apart two processes may receive what was published to two topics

Selected = tuple[Entry, str]
"""An entry, and the id that it has for this client."""


def since(log: ChannelLog, cursor: Cursor, topics: Collection[str], *, by_time: bool = True) -> list[Selected] | None:
    """What came after a cursor, in order; None when something that came after it may not be known.

    Args:
        by_time: Whether it may be taken for granted that all processes receive a message within 2 s.
    """
    log.prune()
    log.name_all()
    # Messages of runs reach every client, whatever its topics.
    concerned = {*topics, *log.run_topics}
    if cursor.log == log.name:
        found = _since_offset(log, cursor.offset, topics, concerned)
        if found is not None or cursor.offset > log.end:
            return found if found is None or cursor.since else [_gap("expired"), *found]
        # What was put in front where offsets have been used is found by what the client has had.
    if not cursor.complete or (cursor.numbers and not log.numbered):
        return None
    if log.numbered and not all(_knows_numbers(log, cursor.numbers_of(topic), topic) for topic in topics):
        return None
    if log.numbered and not (log.mixed or cursor.names) and log.whole_since < float("inf") and log.all_numbered:
        return _replay(log, cursor, {}, concerned, lambda _, __: True)
    return _since_names(log, cursor, topics, concerned, by_time)


def _knows_numbers(log: ChannelLog, had: Numbers, topic: str) -> bool:
    """Whether all is known that has a number that is not among these, and these are known, too."""
    # What the client has had would be given to it once more when it is received.
    return log.reaches(had, topic) and (not had or log.position().numbers_of(topic).includes(had))


def _since_offset(
    log: ChannelLog, offset: int, topics: Collection[str], concerned: Collection[str]
) -> list[Selected] | None:
    if offset > log.end or (log.floor is not None and offset < log.floor):
        return None
    for topic in topics:
        coverage = log.coverage.get(topic)
        if coverage is None or coverage.offset > offset:
            return None
    for topic, (evicted, _, _) in log.evicted.items():
        if evicted >= offset and topic in concerned:
            return None
    return [
        (entry, entry.event_id)
        for at, entry in enumerate(log.entries, log.first)
        if at >= offset and _concerns(entry, concerned)
    ]


def _since_names(
    log: ChannelLog, cursor: Cursor, topics: Collection[str], concerned: Collection[str], by_time: bool
) -> list[Selected] | None:
    """The same, where some of what was published has no number: its offset is known by receipt alone."""
    offsets = _offsets_of(log, cursor, concerned)
    stops: dict[str, float] = {}
    for topic in concerned:
        tag = topic_tag(topic)
        named = [name for name in cursor.names if name.startswith(tag)]
        if any(name not in offsets for name in named):
            # A message that was never received here, or is no longer kept: what followed may be lost with it.
            return None
        for name in (*named, topic):
            found, at = offsets.get(name, ("", 0))
            if found == topic:
                stops[topic] = max(at, stops.get(topic, at))
        if log.floor is not None and stops.get(topic, log.floor) < log.floor:
            return None
        if named and _has_holes(log, cursor, topic, stops.get(topic, log.first)):
            return None
    unseen = [topic for topic in topics if topic not in stops]
    moment = cursor.at - log.clock.ahead
    if not unseen:
        return _replay(log, cursor, stops, concerned, lambda _, __: False)
    if _knows_since(log, moment, unseen):
        # The client has had nothing of these topics since then.
        return _replay(log, cursor, stops, concerned, lambda _, entry: entry.at >= moment)
    newest = offsets.get(cursor.names[0]) if cursor.names else None
    if newest is None or not by_time or not _knows_after(log, newest[1], unseen):
        return None
    after = newest[1]
    return _replay(log, cursor, stops, concerned, lambda offset, _: offset > after)


def _has_holes(log: ChannelLog, cursor: Cursor, topic: str, until: float) -> bool:
    """Whether there is a number that a client has not had before one that it has.

    Where something was sent without a number, that may have been, too: its recording succeeded, and the reply was lost.
    """
    had = cursor.numbers_of(topic)
    return any(
        entry.number and offset < until and entry.number not in had
        for offset, entry in enumerate(log.entries, log.first)
        if isinstance(entry.envelope, Envelope) and entry.envelope.topic == topic
    )


def _offsets_of(log: ChannelLog, cursor: Cursor, topics: Collection[str]) -> dict[str, tuple[str, int]]:
    """Where the messages are that a client has had last, as far as they are known: the topic and the offset.

    By the names of messages, and by topics for those with a number.
    """
    last = {topic: [*cursor.numbers_of(topic)][-1] for topic in topics if cursor.numbers_of(topic)}
    found: dict[str, tuple[str, int]] = {}
    for topic, (offset, identity, number) in log.evicted.items():
        if (name := name_of(topic, identity)) in cursor.names:
            found[name] = topic, offset
        if number and last.get(topic) == number:
            found[topic] = topic, offset
    for offset, entry in enumerate(log.entries, log.first):
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            continue
        if entry.number:
            if last.get(envelope.topic) == entry.number:
                found[envelope.topic] = envelope.topic, offset
        elif (
            name := name_of(envelope.topic, envelope.identity)
        ) in cursor.names and envelope.identity not in log.ambiguous:
            found[name] = envelope.topic, offset
    return found


def _knows_since(log: ChannelLog, moment: float, topics: Collection[str]) -> bool:
    """Whether all is known of these topics that was published since then."""
    # Whoever subscribes tells what is kept for all a little later.
    return log.floor is None and moment + _LAG >= log.whole_since and log.evicted.keys().isdisjoint(topics)


def _knows_after(log: ChannelLog, newest: int, topics: Collection[str]) -> bool:
    """Whether all is known of these topics that was published after the newest message a client had.

    Inngest keeps no order between topics, so of what was published shortly before that or with it nobody knows.
    """
    if newest < log.first:
        return False
    entry = log.entries[newest - log.first]
    for topic in topics:
        coverage = log.coverage.get(topic)
        if coverage is None or topic in log.evicted or entry.at - coverage.moment < _SKEW.total_seconds():
            return False
    before = [envelope for offset, _, envelope in log.messages() if offset <= newest]
    times = [envelope.created_at for envelope in before if envelope.created_at]
    moment = parse_timestamp(times[-1]) if times else None
    earliest = "" if moment is None else (moment - _SKEW).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return not any(envelope.topic in topics and sortable(envelope.created_at) >= earliest for envelope in before)


def _replay(
    log: ChannelLog,
    cursor: Cursor,
    stops: Mapping[str, float],
    concerned: Collection[str],
    is_due: Callable[[int, Entry], bool],
) -> list[Selected]:
    """What the client has not had. As long as it is ahead of the log in some topic, its ids are of its own.

    Args:
        stops: By topic, the last message that it has had, of those without a number.
        is_due: Whether an entry is for the client, in topics in which it has no stop.
    """
    numbers = {topic: cursor.numbers_of(topic) for topic in concerned} if log.numbered else {}
    chosen: list[tuple[int, Entry]] = []
    had: list[float] = [*stops.values()]
    for offset, entry in enumerate(log.entries, log.first):
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            chosen.append((offset, entry))
        elif envelope.topic in concerned:
            if entry.number:
                is_new = entry.number not in numbers[envelope.topic]
            elif envelope.topic in stops:
                is_new = offset > stops[envelope.topic]
            else:
                is_new = is_due(offset, entry)
            if is_new:
                chosen.append((offset, entry))
            elif entry.number:
                had.append(offset)
    messages = [offset for offset, entry in chosen if isinstance(entry.envelope, Envelope)]
    first = min([*messages, *stops.values()], default=log.end)
    ahead = max(had, default=first)
    own = _own_position(log, cursor, stops, numbers)
    is_ahead = True
    result: list[Selected] = []
    for offset, entry in chosen:
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            if offset >= first:
                result.append((entry, "" if is_ahead and offset < ahead else entry.event_id))
            continue
        own.add(envelope, entry.number, entry.previous)
        is_ahead = is_ahead and (offset < ahead or not _includes(log, entry, numbers))
        own_id = log.ids.encode(log.channel, NO_LOG, 0, cursor.since, own.names) if is_ahead else ""
        result.append((entry, own_id or entry.event_id))
    return result


def _includes(log: ChannelLog, entry: Entry, numbers: Mapping[str, Numbers]) -> bool:
    """Whether who has read the log up to an entry has had these numbers."""
    cursor = log.ids.decode(log.channel, entry.event_id)
    return cursor is not None and all(
        not had or cursor.numbers_of(topic).includes(had) for topic, had in numbers.items()
    )


def _own_position(
    log: ChannelLog, cursor: Cursor, stops: Mapping[str, float], numbers: Mapping[str, Numbers]
) -> Position:
    """Where the client stands that has had what it has had, and not all that the log has before that."""
    own = Position(cursor.since)
    offsets = {offset: topic for topic, offset in stops.items()}
    for topic, (offset, identity, number) in log.evicted.items():
        if stops.get(topic) == offset and not number:
            own.names[topic] = name_of(topic, identity)
    for offset, _, envelope in log.messages():
        if offsets.get(offset) == envelope.topic and not log.entries[offset - log.first].number:
            own.add(envelope)
    for topic, each in numbers.items():
        if each:
            own.unite(topic, each)
    return own


def rewind(
    log: ChannelLog, count: Rewind, topics: Collection[str], before: int | None = None, *, known: bool = True
) -> tuple[list[Selected], str]:
    """The last messages of each topic, in order, with the gaps among them; and the id of the cursor before them.

    A data stream counts as one message, and comes from its start on; one that goes on comes however many there are.

    Args:
        before: An offset from which on all is given, and nothing is counted.
        known: Whether what came before is; else there is a gap first.
    """
    log.prune()
    end = log.name_all()
    concerned = {*topics, *log.run_topics}
    left: dict[str, float] = {}
    going_on = _streams_going_on(log, before) if count else set[str]()
    parts: dict[str, list[tuple[int, Entry]]] = {}  # of data streams whose start has not been reached
    first = log.end
    chosen: list[tuple[int, Entry]] = []
    for offset, entry in zip(range(log.end - 1, log.first - 1, -1), reversed(log.entries), strict=True):
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            chosen.append((offset, entry))
            first = offset if before is not None and offset >= before else first
        elif before is not None and offset >= before:
            if envelope.topic in concerned:
                chosen.append((offset, entry))
                first = offset
        elif envelope.topic in concerned:
            rest = left.setdefault(envelope.topic, float("inf") if count == "all" else count)
            stream_id = envelope.stream_id or ""
            if stream_id and envelope.kind != "datastream-start":
                parts.setdefault(stream_id, []).append((offset, entry))
            elif rest > 0 or stream_id in going_on:
                chosen += [(offset, entry), *parts.pop(stream_id, ())]
                first = offset
                left[envelope.topic] = rest - (envelope.kind in _COUNTED)
            else:
                parts.pop(stream_id, None)
    for stream_id, [(_, entry), *_] in parts.items():
        # Its start is no longer kept.
        if isinstance(entry.envelope, Envelope) and (stream_id in going_on or left[entry.envelope.topic] > 0):
            known = False
    chosen.sort(key=itemgetter(0))
    selected = [(entry, entry.event_id) for offset, entry in chosen if offset >= first]
    if before is not None and any(offset >= before for offset, _, _ in log.evicted.values()):
        return [_gap("overflow"), *selected], log.id_before_gap(first)
    if not known or any(topic in concerned and log.is_recent(at) for topic, at in log.left_out.items()):
        return [_gap("expired"), *selected], log.id_before_gap(first)
    return selected, log.id_before(first) if first < log.end else end


def _streams_going_on(log: ChannelLog, since: int | None) -> set[str]:
    """The data streams that have not ended, or not before an offset."""
    found: set[str] = set()
    for offset, entry in enumerate(log.entries, log.first):
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            found.clear()
        elif envelope.stream_id and envelope.kind == "datastream-end" and (since is None or offset < since):
            found.discard(envelope.stream_id)
        elif envelope.stream_id:
            found.add(envelope.stream_id)
    return found


def _gap(reason: GapReason) -> Selected:
    """One that is not in the log."""
    return Entry(0.0, reason), ""


def _concerns(entry: Entry, topics: Collection[str]) -> bool:
    envelope = entry.envelope
    return not isinstance(envelope, Envelope) or envelope.topic in topics
