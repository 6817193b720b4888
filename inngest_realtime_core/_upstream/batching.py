"""Which topics fit one token: in a URL, in one `sub` frame, in one `unsub` frame. Pure functions.

Observed on a real server: a frame from a client has at most 32,768 bytes, about 220 topics; a token of 980 KB in the
URL of a connection was accepted, one of 1.07 MB was not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .._api.tokens import Entry
from .protocol import MAX_CLIENT_FRAME, unsubscribe_frame

MAX_URL_TOKEN: Final = 700_000
"""Characters of a token in a URL that stay well below what the server takes."""

_ENTRY_OVERHEAD: Final = 84  # bytes of a topic in a token's claims beside its two names
_TOKEN_OVERHEAD: Final = 600  # bytes of a token without topics
_FRAME_BUDGET: Final = MAX_CLIENT_FRAME - 1_024


def _weight(entry: Entry) -> int:
    channel, topic = entry
    # JSON escapes make a name longer, and base64 makes four characters of three bytes.
    return (_ENTRY_OVERHEAD + len(json.dumps(channel)) + len(json.dumps(topic))) * 4 // 3 + 1


def weight(entries: Iterable[Entry]) -> int:
    """How many characters these topics add to a token at most, nearly."""
    return sum(map(_weight, entries))


def token_size(entries: Sequence[Entry]) -> int:
    """The length in characters that a token for these topics has at most, nearly."""
    return _TOKEN_OVERHEAD + weight(entries)


def split_for_url(entries: Sequence[Entry], limit: int) -> tuple[list[Entry], list[Entry]]:
    """Split off what fits a token of `limit` characters; at least one entry goes into it."""
    total = _TOKEN_OVERHEAD
    for position, entry in enumerate(entries):
        total += _weight(entry)
        if total > limit and position:
            return list(entries[:position]), list(entries[position:])
    return list(entries), []


def frame_batches(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Split into batches whose tokens fit one `sub` frame each."""
    batches: list[list[Entry]] = []
    remaining = list(entries)
    while remaining:
        batch, remaining = split_for_url(remaining, _FRAME_BUDGET)
        batches.append(batch)
    return batches


def unsubscribe_frames(entries: Sequence[Entry], *, env_id: str | None) -> Iterator[str]:
    """The frames that take these topics off a connection."""
    # What fits a token fits a frame that names the topics in clear.
    return (unsubscribe_frame(batch, env_id=env_id) for batch in frame_batches(entries))
