"""The ids of events: where in a channel's log a client stands, readable by every worker, and not to be made up.

`<log>.<offset>.<time>.<name>...[.~].<tag>`: the log that the client reads, how far it has come in it, and for each
topic what it has had, the newest first; of topics that are not named there was none since that time. For messages with
numbers that is which numbers, for others the message received last. Another process has a log of its own, in which it
finds by that what the client has not had. The tag proves that this deployment made the id, for this channel.
"""

from __future__ import annotations

import binascii
import functools
import re
import secrets
from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from hmac import compare_digest
from itertools import pairwise
from typing import Final

import msgspec

from .numbers import TICKS, Numbers

MAX_NAMES: Final = 9
"""Messages that an id names at most. With more topics, only the process that made it can tell where the client is."""

NO_LOG: Final = "--------"
"""Stands for a log in the ids of a client that is ahead of the log it reads in some topic: only the names count."""

_MAX_LENGTH: Final = 200  # characters of an id
_TAG: Final = 8  # bytes
_MAX_DISTANCE: Final = 2**24 - 1  # of two numbers in an id
_TAG_LENGTH: Final = 12  # characters, with the point before it
_IDENTITY_LENGTH: Final = 13
_LONG: Final = 4  # characters of the tag of a topic before numbers
_INCOMPLETE: Final = ".~"
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_NAME: Final = r"[\w-]{13}|[\w-]{12}(?:[\w-]{8}){0,16}"
_FORM: Final = rf"[\w-]{{8}}\.-?\d{{1,12}}\.\d{{1,15}}((?:\.(?:{_NAME}))*)(\.~)?\.[\w-]{{11}}"


class Cursor(msgspec.Struct, frozen=True):
    """An offset in a log, and what was had up to there.

    Attributes:
        log: The name of the log.
        offset: The offset of the entry that comes next.
        since: Since when the client has had nothing of topics without a name, in the units of numbers.
        names: The message received last of each topic, of those without a number, the newest first.
        numbers: By the tag of a topic, which numbers the client has had.
        complete: Whether all names are here.
    """

    log: str
    offset: int
    since: int
    names: tuple[str, ...] = ()
    numbers: Mapping[str, Numbers] = {}
    complete: bool = True

    @property
    def at(self) -> float:
        """The same as `since`, in seconds."""
        return self.since / TICKS

    def numbers_of(self, topic: str) -> Numbers:
        return self.numbers.get(_long_tag(topic)) or Numbers(self.since)


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

    def encode(self, channel: str, log: str, offset: int, since: int, names: dict[str, str]) -> str:
        """The id of a cursor.

        Args:
            since: As of a cursor.
            names: What is named of each topic, the newest last.
        """
        text = f"{log}.{offset}.{since}"
        room = _MAX_LENGTH - _TAG_LENGTH - len(_INCOMPLETE) - len(text)
        for count, name in enumerate(reversed(names.values())):
            room -= len(name) + 1
            if count == MAX_NAMES or room < 0:
                text += _INCOMPLETE
                break
            text += "." + name
        return f"{text}.{_tag(self._keys[0], channel, text)}"

    def decode(self, channel: str, event_id: str) -> Cursor | None:
        """The cursor that an id encodes; None when it is no id of this channel made with one of the keys."""
        found = re.fullmatch(_FORM, event_id, re.ASCII)
        if found is None:
            return None
        text, _, tag = event_id.rpartition(".")
        if not any(compare_digest(_tag(key, channel, text), tag) for key in self._keys):
            return None
        log, offset, since = text.split(".", 3)[:3]
        names = found[1].split(".")[1:]
        identities = tuple(name for name in names if len(name) == _IDENTITY_LENGTH)
        numbers = {name[:_LONG]: _numbers_of(name, int(since)) for name in names if len(name) != _IDENTITY_LENGTH}
        # Two topics with the same tag cannot be told apart.
        complete = not found[2] and len(identities) + len(numbers) == len(names)
        return Cursor(log, int(offset), int(since), identities, numbers, complete)


def _tag(key: bytes, channel: str, text: str) -> str:
    digest = blake2b(f"{channel}\n{text}".encode(), digest_size=_TAG, key=key).digest()
    return binascii.b2a_base64(digest, newline=False)[:11].translate(_URL_SAFE).decode()


def derive_key(signing_key: str) -> bytes:
    """The key for event ids that belongs to a signing key; it tells nothing about the signing key."""
    return blake2b(b"inngest-realtime event ids", key=sha256(signing_key.encode()).digest()).digest()


@functools.lru_cache(maxsize=1024)
def topic_tag(topic: str) -> str:
    """Two characters that tell the names of one topic from those of most others."""
    return _long_tag(topic)[:2]


@functools.lru_cache(maxsize=1024)
def _long_tag(topic: str) -> str:
    return _text(blake2b(topic.encode(), digest_size=3).digest())


def name_of(topic: str, identity: str) -> str:
    """The name of a message in an event id."""
    return topic_tag(topic) + identity


def name_of_numbers(topic: str, numbers: Numbers) -> str:
    """What an event id says of the numbers that a client has had in a topic."""
    ends = list(numbers)
    if ends[-1] - ends[0] > _MAX_DISTANCE:
        # What is missing there was recorded so long ago that nobody receives it any more.
        return name_of_numbers(topic, Numbers(numbers.spans[0][1], numbers.spans[1:]))
    parts = [ends[0].to_bytes(6, "big")]
    parts += [(end - before).to_bytes(3, "big") for before, end in pairwise(ends)]
    return _long_tag(topic) + _text(b"".join(parts))


def _numbers_of(name: str, since: int) -> Numbers:
    # The text is one that this deployment made.
    data = binascii.a2b_base64(name[_LONG:].encode().translate(_STANDARD))
    ends = [int.from_bytes(data[:6], "big")]
    for at in range(6, len(data), 3):
        ends.append(ends[-1] + int.from_bytes(data[at : at + 3], "big"))
    return Numbers(ends[0], tuple(zip(ends[1::2], ends[2::2], strict=False)), counted=ends[0] != since)


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE).decode()
