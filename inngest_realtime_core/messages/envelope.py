"""One frame from Inngest, decoded as far as everybody needs it: the payload stays raw bytes.

The keys are those of the wire, as recorded from a real server: `kind`, `data`, `channel`, `topic`, `created_at`,
`env_id`, `run_id`, `fn_id`, `metadata`, `stream_id`. Unknown keys are passed over.
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from .data_stream import DataStream

METADATA_KEY: Final = "inngest-realtime"
"""What this package adds to a message's metadata stands under this key; the rest is the publisher's own."""

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_NULL = msgspec.Raw(b"null")
NO_METADATA: Final = msgspec.Raw(b"null")
"""The metadata of a message that came without any: this very object."""
_MAX_ID: Final = 200  # characters
_LIGHT: Final = 1_000  # bytes beside the payload that are not counted


class Weight(int):
    """A number that no JSON is."""


class Added(msgspec.Struct, gc=False):
    """What this package adds to the metadata of a message.

    Attributes:
        id: The publisher's id of the message.
        seq: Where all processes share a log: the number of the message there, that of the one before it in its topic,
            and the number at which the log began.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_ID)]
    seq: tuple[int, int, int] | None = None


class _Metadata(msgspec.Struct, gc=False):
    added: Added | None = msgspec.field(default=None, name=METADATA_KEY)


def read_added(metadata: msgspec.Raw) -> Added | None:
    """What this package has added to the metadata of a message of kind `data`; None where that is no id."""
    try:
        return _decode_metadata(metadata).added
    except (msgspec.MsgspecError, RecursionError):
        # Metadata may be any JSON.
        return None


_decode_metadata = msgspec.json.Decoder(_Metadata).decode


class Envelope(msgspec.Struct, gc=False, eq=False, repr_omit_defaults=True):
    """A decoded frame. The last four attributes are ours and never on the wire.

    Attributes:
        weight: Bytes of all of it, where more than the payload is large: metadata, most likely. None elsewhere.
        index: The position of a chunk in its data stream, counted from 0.
        stream: What collects the chunks, for a `datastream-start` that has been delivered.
        known_identity: What `identity` was found to be.
    """

    kind: str
    data: msgspec.Raw = _NULL
    channel: str = ""
    topic: str = ""
    created_at: str | None = None
    env_id: str | None = None
    run_id: str | None = None
    fn_id: str | None = None
    metadata: msgspec.Raw = NO_METADATA
    stream_id: str | None = None
    weight: Weight | None = msgspec.field(default=None, name="(weight)")
    index: int = msgspec.field(default=0, name="(index)")
    stream: DataStream | None = msgspec.field(default=None, name="(stream)")
    known_identity: str = msgspec.field(default="", name="(identity)")

    @property
    def size(self) -> int:
        """Bytes that count where the bytes of messages are limited."""
        return self.weight or len(self.data)

    def weigh(self, size: int) -> None:
        """Called with the bytes of all of it, where those may be many."""
        self.weight = Weight(size) if size - len(self.data) > _LIGHT else None

    @property
    def hides_text(self) -> bool:
        """Whether it ends a data stream whose start was missed: to who reads its topic that is a gap."""
        return self.kind == "datastream-end" and self.stream_id is None

    @property
    def added(self) -> Added | None:
        """What this package has added; None where that is no id.

        Only `data` has it: the start and the end of a data stream carry the same metadata.
        """
        metadata = self.metadata
        return None if metadata is NO_METADATA or self.kind != "data" else read_added(metadata)

    @property
    def id(self) -> str | None:
        """The publisher's id of the message; None without one."""
        added = self.added
        return None if added is None else added.id

    @property
    def identity(self) -> str:
        """A short text that is equal for the same message wherever and however often it is received.

        Derived from the topic and the publisher's id; without one, from the topic, the server's nanosecond timestamp
        and the payload. A chunk carries no timestamp: its stream's id and its position in the stream stand in.
        """
        if not self.known_identity:
            if self.kind == "chunk":
                seed = f"{self.stream_id}\n{self.index}".encode()
            elif id := self.id:
                seed = f"{self.topic}\n\n{id}".encode()
            else:
                seed = f"{self.kind}\n{self.topic}\n{self.created_at}\n".encode() + bytes(self.data)
            self.known_identity = _text(blake2b(seed, digest_size=8).digest())
        return self.known_identity


def _text(digest: bytes) -> str:
    return b2a_base64(digest, newline=False)[:11].translate(_URL_SAFE).decode()
