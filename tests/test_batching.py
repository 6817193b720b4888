from __future__ import annotations

import json
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core._api.tokens import Entry
from inngest_realtime_core._upstream.batching import frame_batches, split_for_url, token_size, unsubscribe_frames
from inngest_realtime_core._upstream.protocol import MAX_CLIENT_FRAME, subscribe_frame
from inngest_realtime_devserver.tokens import Authority, TopicEntry
from wire import ENV

NAMES = st.text(min_size=1, max_size=60)
ENTRIES = st.lists(st.tuples(NAMES, NAMES), max_size=400, unique=True)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=30, unique=True))
def test_tokens_are_no_longer_than_estimated(entries: list[Entry]) -> None:
    authority = Authority()
    token = authority.mint([TopicEntry(channel=channel, name=name, kind="run") for channel, name in entries])
    assert len(token) <= token_size(entries)
    assert token_size(entries) <= 2 * len(token) + 600


@given(ENTRIES, st.integers(100, 10_000))
def test_splitting_loses_nothing(entries: list[Entry], limit: int) -> None:
    first, rest = split_for_url(entries, limit)
    assert first + rest == entries
    assert len(first) >= min(len(entries), 1)
    assert len(first) <= 1 or token_size(first) <= limit


@given(ENTRIES)
def test_batches_fit_a_frame(entries: list[Entry]) -> None:
    batches = frame_batches(entries)
    assert list(chain.from_iterable(batches)) == entries
    for batch in batches:
        assert len(subscribe_frame("x" * token_size(batch))) <= MAX_CLIENT_FRAME or len(batch) == 1


@given(ENTRIES)
def test_unsubscribe_frames_fit(entries: list[Entry]) -> None:
    seen: list[Entry] = []
    for frame in unsubscribe_frames(entries, env_id=ENV):
        assert len(frame.encode()) <= MAX_CLIENT_FRAME
        message = json.loads(frame)
        assert message["kind"] == "unsub"
        assert all(entry["kind"] == "run" and entry["env_id"] == ENV for entry in message["data"])
        seen += [(entry["channel"], entry["name"]) for entry in message["data"]]
    assert seen == entries


def test_a_token_leaves_room_for_the_rest_of_its_frame() -> None:
    """Whatever the names' lengths: with some of these a batch is full to a few bytes."""
    for length in range(60):
        entries = [("c" * length, f"{number:03}") for number in range(300)]
        (batch, *_) = frame_batches(entries)
        assert len(batch) < len(entries)
        assert len(subscribe_frame("x" * token_size(batch))) <= MAX_CLIENT_FRAME


def test_about_220_ordinary_topics_fit_a_frame() -> None:
    entries = [(f"pipeline:{number:08d}", "status") for number in range(1_000)]
    assert 150 <= len(frame_batches(entries)[0]) <= 230
