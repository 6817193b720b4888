"""What a client gets first that comes back to a channel, or comes late: entries of the channel's log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Final, Literal

from ..messages.envelope import Envelope
from ..messages.timestamps import parse_timestamp, sortable
from .channel_log import ChannelLog
from .event_ids import NO_LOG, PENDING, Cursor, name_of, topic_tag
from .placed_log import Entry

_LAG: Final = 1.0  # seconds
_COUNTED: Final = frozenset({"data", "run", "datastream-start"})
_SKEW: Final = timedelta(seconds=2)  # how far apart two processes may receive what was published to two topics

Rewind = int | Literal["all"]
"""How many of the last messages of each topic."""

Selected = tuple[Entry, str]
"""An entry, and the id that it has for this client."""


def since(
    log: ChannelLog, cursor: Cursor, topics: Collection[str], *, by_time: bool = True, fresh: bool = False
) -> list[Selected] | None:
    """What came after a cursor, in order; None when something that came after it may not be known.

    Args:
        by_time: Whether it may be taken for granted that all processes receive a message within 2 s.
        fresh: Whether what is pending in the log is so at this moment.
    """
    log.prune()
    log.name_all()
    # Messages of runs reach every client, whatever its topics.
    concerned = {*topics, *log.run_topics}
    if cursor.log == log.name:
        return _since_offset(log, cursor.offset, topics, concerned)
    return _since_names(log, cursor, topics, concerned, by_time, fresh)


def _since_offset(
    log: ChannelLog, offset: int, topics: Collection[str], concerned: Collection[str]
) -> list[Selected] | None:
    if offset > log.end or (log.floor is not None and offset < log.floor):
        return None
    for topic in topics:
        coverage = log.coverage.get(topic)
        if coverage is None or coverage.offset > offset:
            return None
    for topic, (evicted, _) in log.evicted.items():
        if evicted >= offset and topic in concerned:
            return None
    return [
        (entry, entry.event_id)
        for place, entry in enumerate(log.entries, log.first)
        if place >= offset and _concerns(entry, concerned)
    ]


def _since_names(
    log: ChannelLog, cursor: Cursor, topics: Collection[str], concerned: Collection[str], by_time: bool, fresh: bool
) -> list[Selected] | None:
    if not cursor.complete:
        return None
    if not fresh and any(
        place is None and envelope.topic in concerned and _name(envelope) not in cursor.pending
        for place, _, envelope in _placed(log)
    ):
        # The client may have had it, where it has been received meanwhile.
        return None
    places = _places_of(log, {*cursor.names, *cursor.pending})
    if not fresh and not cursor.pending.issubset(places):
        # What the client has had would be given to it once more when it is received.
        return None
    stops: dict[str, float] = {}
    for topic in concerned:
        tag = topic_tag(topic)
        named = [name for name in cursor.names if name.startswith(tag)]
        if any(name not in places for name in named):
            # A message that was never received here, or is no longer kept: what followed may be lost with it.
            return None
        for name in named:
            found, place = places[name]
            if found == topic:
                if place is None:
                    # It is not known which ones were received before it.
                    return None
                stops[topic] = max(place, stops.get(topic, place))
        if log.floor is not None and stops.get(topic, log.floor) < log.floor:
            return None
    unseen = [topic for topic in topics if topic not in stops]
    moment = cursor.at - log.clock
    if not unseen:
        return _replay(log, cursor, stops, concerned, lambda _, __: False)
    if _knows_since(log, moment, unseen):
        # The client has had nothing of these topics since then.
        return _replay(log, cursor, stops, concerned, lambda _, entry: entry.at >= moment)
    newest = places.get(cursor.names[0]) if cursor.names else None
    if newest is None or newest[1] is None or not by_time or not _knows_after(log, newest[1], unseen):
        return None
    after = newest[1]
    return _replay(log, cursor, stops, concerned, lambda place, _: place > after)


def _name(envelope: Envelope) -> str:
    return name_of(envelope.topic, envelope.identity)


def _placed(log: ChannelLog) -> Iterator[tuple[float | None, int, Envelope]]:
    """The messages that were put into the log before they were received: place, offset, and the message."""
    if log.pending:
        for offset, _, envelope in log.messages():
            if envelope.identity in log.pending:
                yield log.pending[envelope.identity], offset, envelope


def _places_of(log: ChannelLog, names: Collection[str]) -> dict[str, tuple[str, float | None]]:
    """Where the messages with these names are, as far as they are known: the topic and the place."""
    found: dict[str, tuple[str, float | None]] = {
        name: (topic, offset) for topic, (offset, name) in log.evicted.items() if name in names
    }
    for offset, _, envelope in log.messages():
        name = _name(envelope)
        if name in names:
            found[name] = envelope.topic, log.place_of(offset, envelope)
    return found


def _knows_since(log: ChannelLog, moment: float, topics: Collection[str]) -> bool:
    """Whether all is known of these topics that was published since then."""
    # Whoever subscribes tells what is kept for all a little later.
    return log.floor is None and moment + _LAG >= log.whole_since and log.evicted.keys().isdisjoint(topics)


def _knows_after(log: ChannelLog, newest: float, topics: Collection[str]) -> bool:
    """Whether all is known of these topics that was published after the newest message a client had.

    Inngest keeps no order between topics, so of what was published shortly before that or with it nobody knows.
    """
    if newest < log.first:
        return False
    entry = log.entries[int(newest) - log.first]
    for topic in topics:
        coverage = log.coverage.get(topic)
        if coverage is None or topic in log.evicted or entry.at - coverage.moment < _SKEW.total_seconds():
            return False
    times = [envelope.created_at for place, _, envelope in log.messages() if place <= newest and envelope.created_at]
    moment = parse_timestamp(times[-1]) if times else None
    earliest = "" if moment is None else (moment - _SKEW).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return not any(
        place <= newest and envelope.topic in topics and sortable(envelope.created_at) >= earliest
        for place, _, envelope in log.messages()
    )


def _replay(
    log: ChannelLog,
    cursor: Cursor,
    stops: Mapping[str, float],
    concerned: Collection[str],
    is_due: Callable[[float, Entry], bool],
) -> list[Selected]:
    """What follows the client's stops. As long as it is ahead of the log in some topic, its ids are of its own.

    Args:
        is_due: Whether an entry is for the client, in topics in which it has no stop.
    """

    def is_chosen(offset: int, entry: Entry) -> bool:
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            return True
        if envelope.topic not in concerned or (cursor.pending and _name(envelope) in cursor.pending):
            return False
        place = log.place_of(offset, envelope)
        if place is None:
            # Nobody had received it before the last message that the client has.
            return envelope.topic in stops or is_due(offset, entry)
        stop = stops.get(envelope.topic)
        return is_due(place, entry) if stop is None else place > stop

    chosen = [(offset, entry) for offset, entry in enumerate(log.entries, log.first) if is_chosen(offset, entry)]
    messages = [offset for offset, entry in chosen if isinstance(entry.envelope, Envelope)]
    had = [offset for offset, _, envelope in log.messages() if _name(envelope) in cursor.pending]
    first = min([*messages, *stops.values()], default=log.end)
    ahead = max([*stops.values(), *had], default=first)
    names = _names_at(log, cursor, stops)
    result: list[Selected] = []
    for offset, entry in chosen:
        envelope = entry.envelope
        if not isinstance(envelope, Envelope):
            if offset >= first:
                result.append((entry, entry.event_id))
            continue
        log.put_name(names, envelope, offset)
        own = log.ids.encode(log.channel, NO_LOG, 0, cursor.at, names) if offset < ahead else ""
        result.append((entry, own or entry.event_id))
    return result


def _names_at(log: ChannelLog, cursor: Cursor, stops: Mapping[str, float]) -> dict[str, str]:
    """The names of the messages at which the client stopped, the newest last."""
    names = {PENDING + name[2:]: PENDING + name for name in cursor.pending}
    names.update({topic: name for topic, (offset, name) in log.evicted.items() if stops.get(topic) == offset and name})
    for offset, _, envelope in log.messages():
        if envelope.topic in stops and stops[envelope.topic] == log.place_of(offset, envelope):
            log.put_name(names, envelope)
    return names


def rewind(
    log: ChannelLog, count: Rewind, topics: Collection[str], before: int | None = None
) -> tuple[list[Selected], str]:
    """The last messages of each topic, in order, with the gaps among them; and the id of the place before them.

    A data stream counts as one message.

    Args:
        before: An offset from which on all is given, and nothing is counted.
    """
    log.prune()
    end = log.name_all()
    concerned = {*topics, *log.run_topics}
    left: dict[str, float] = {}
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
            if rest > 0:
                chosen.append((offset, entry))
                first = offset
                left[envelope.topic] = rest - (envelope.kind in _COUNTED)
    selected = [(entry, entry.event_id) for offset, entry in reversed(chosen) if offset >= first]
    if before is not None and any(offset >= before for offset, _ in log.evicted.values()):
        selected.insert(0, (Entry(0.0, "overflow"), ""))
    return selected, log.id_before(first) if first < log.end else end


def _concerns(entry: Entry, topics: Collection[str]) -> bool:
    envelope = entry.envelope
    return not isinstance(envelope, Envelope) or envelope.topic in topics
