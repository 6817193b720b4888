"""The ids of events: where in a channel's log a client stands, readable by every worker, and not to be made up.

`<log>.<offset>.<milliseconds>.<name>...[.~].<tag>`: the log that the client reads, how far it has come in it, and for
each topic the message received last, the newest first; of topics that are not named there was none since that time.
A name after `~` is of a message that the client has had before anybody was known to have received it, so that its place
among the others was not known. Another process has a log of its own, in which it finds the client's place by the names.
The tag proves that this deployment made the id, for this channel.
"""

from __future__ import annotations

import binascii
import functools
import re
import secrets
from collections.abc import Sequence
from hashlib import blake2b, sha256
from hmac import compare_digest
from itertools import islice
from typing import Final, NamedTuple

MAX_NAMES: Final = 9
"""Messages that an id names at most. With more topics, only the process that made it can tell where the client is."""

NO_LOG: Final = "--------"
"""Stands for a log in the ids of a client that is ahead of the log it reads in some topic: only the names count."""

PENDING: Final = "~"
"""Stands before the name of a message that was given before anybody was known to have received it."""

_TAG: Final = 8  # bytes
_INCOMPLETE: Final = ".~"
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_FORM: Final = r"[\w-]{8}\.-?\d{1,12}\.\d{1,15}((?:\.~?[\w-]{13}){0,9})(\.~)?\.[\w-]{11}"


class Cursor(NamedTuple):
    """A place in a log.

    Attributes:
        log: The name of the log.
        offset: The offset of the entry that comes next.
        at: Since when the client has had nothing of topics without a name, by the clock of what is kept for all.
        names: The message received last of each topic, the newest first.
        pending: Messages that the client has had besides, before it was known where they stand.
        complete: Whether all names are here.
    """

    log: str
    offset: int
    at: float
    names: tuple[str, ...] = ()
    pending: frozenset[str] = frozenset()
    complete: bool = True


class EventIds:
    """Makes and reads event ids.

    Args:
        keys: Ids are made with the first one, and read with each of them.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def of(cls, *signing_keys: str | None) -> EventIds:
        """Those of a deployment: with keys derived from its signing keys, else with one of this process."""
        derived = [derive_key(key) for key in signing_keys if key]
        del signing_keys  # error reports show local variables
        return cls(derived or [cls.new_key()])

    @staticmethod
    def new_key() -> bytes:
        return secrets.token_bytes(32)

    def share(self, key: bytes) -> None:
        """Make ids with a key that other processes have, too, from now on."""
        self._keys = (key, *(known for known in self._keys if known != key))

    def __repr__(self) -> str:
        return f"<EventIds of {len(self._keys)} keys>"

    def encode(self, channel: str, log: str, offset: int, at: float, names: dict[str, str]) -> str:
        """The id of a place.

        Args:
            names: By topic, the newest last; those of pending messages under keys of their own.
        """
        text = ".".join(
            (log, str(offset), str(int(at * 1000)), *islice((names[topic] for topic in reversed(names)), MAX_NAMES))
        )
        if len(names) > MAX_NAMES:
            text += _INCOMPLETE
        return f"{text}.{_tag(self._keys[0], channel, text)}"

    def decode(self, channel: str, event_id: str) -> Cursor | None:
        """The place that an id names; None when it is not an id of this channel that was made with one of the keys."""
        found = re.fullmatch(_FORM, event_id, re.ASCII)
        if found is None:
            return None
        text, _, tag = event_id.rpartition(".")
        if not any(compare_digest(_tag(key, channel, text), tag) for key in self._keys):
            return None
        log, offset, at = text.split(".", 3)[:3]
        names = found[1].split(".")[1:]
        return Cursor(
            log,
            int(offset),
            int(at) / 1000,
            tuple(name for name in names if name[0] != PENDING),
            frozenset(name[1:] for name in names if name[0] == PENDING),
            not found[2],
        )


def _tag(key: bytes, channel: str, text: str) -> str:
    digest = blake2b(f"{channel}\n{text}".encode(), digest_size=_TAG, key=key).digest()
    return binascii.b2a_base64(digest, newline=False)[:11].translate(_URL_SAFE).decode()


def derive_key(signing_key: str) -> bytes:
    """The key for event ids that belongs to a signing key; it tells nothing about the signing key."""
    return blake2b(b"inngest-realtime event ids", key=sha256(signing_key.encode()).digest()).digest()


@functools.lru_cache(maxsize=1024)
def topic_tag(topic: str) -> str:
    """Two characters that tell the names of one topic from those of most others."""
    digest = blake2b(topic.encode(), digest_size=2).digest()
    return binascii.b2a_base64(digest, newline=False)[:2].translate(_URL_SAFE).decode()


def name_of(topic: str, identity: str) -> str:
    """The name of a message in an event id."""
    return topic_tag(topic) + identity
