"""Frames in, messages and signals out. No sockets, no clocks, no asyncio: a transcript of bytes is all a test needs.

Source of every fact: frames recorded from a real Inngest server.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, Final, Literal

import msgspec

from ..messages.envelope import Envelope

logger = logging.getLogger("inngest_realtime.protocol")

MAX_CLIENT_FRAME: Final = 32_768
"""Bytes; the server closes the connection (1009) on a larger frame from a client."""

MAX_SERVER_FRAME: Final = 4 * 1024 * 1024
"""Bytes; a payload of 512 KiB can grow to 3 MiB when its characters are escaped."""

MAX_OPEN_STREAMS: Final = 10_000
"""Data streams tracked on one connection; beyond it the oldest is taken for lost."""

_MAX_STREAM_ID: Final = 200  # characters

Closing = Literal["closing"]
CLOSING: Final[Closing] = "closing"
"""The server shuts down: it goes on sending for a while, so there is time to open a successor."""

_LONE_SURROGATE = (
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class Unreadable(msgspec.Struct):
    """A message that no reader could decode, and where it belongs; the channel is empty where that is not known."""

    channel: str = ""
    topic: str = ""


MAX_DEPTH: Final = 500
"""Levels of nesting; beyond about 1,000 decoders give up, and how far they get depends on who calls them."""

_SHORT: Final = 2 * MAX_DEPTH

MAX_DIGITS: Final = 4_300
"""Digits of an integer; Python converts no longer ones from text."""

_MESSAGES = (b'{"kind":"data",', b'{"kind":"run",', b'{"kind":"datastream-')  # how their frames begin

_LEVELS: Final = 16  # of nesting that most payloads are within
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # as signed bytes: one level more, one level less
_DIGITS = rb"[0-9]{10}"
_LONG_NUMBER = rb"[0-9]{%d}" % (MAX_DIGITS + 1)


class Decoder:
    """Reads the frames of one connection, in order.

    It remembers the connection's open data streams: a chunk carries neither channel nor topic, and only its
    stream's start tells where it belongs.
    """

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Envelope).decode
        self._streams: dict[str, Envelope] = {}

    @property
    def open_streams(self) -> Mapping[str, Envelope]:
        """The start of each data stream that has not ended, by stream id."""
        return self._streams

    def decode(self, frame: bytes | bytearray) -> Envelope | Closing | Unreadable | None:
        """Read one text frame.

        Returns:
            The message; `CLOSING`; the channel and topic of one that can't be decoded; or None for what no
            subscriber gets: malformed frames, kinds of no concern, and chunks of a stream whose start was missed. The
            end of such a stream, which alone says where it was, has no `stream_id`.
            Never raises on what a server sends.
        """
        try:
            if not frame.isascii():
                str(frame, "utf-8")
            envelope = self._decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            repaired = self._decode_repaired(frame)
            if repaired is None:
                unreadable = _find_address(frame)
                if unreadable is not None:
                    return unreadable
                logger.debug("Dropped a frame of %d bytes that is not a JSON envelope.", len(frame))
                return None
            envelope = repaired
        # These are ours, and a frame may have keys of their names. (No JSON has the type of `stream` and `weight`.)
        if envelope.index or envelope.known_identity:
            envelope.index, envelope.known_identity = 0, ""
        if len(frame) > _SHORT:
            # Shorter ones have no room for it.
            if not is_decodable(envelope):
                return Unreadable(envelope.channel, envelope.topic) if envelope.channel else None
            envelope.weigh(len(frame))
        if envelope.kind == "data":
            if envelope.channel and envelope.topic:
                if envelope.stream_id is not None:
                    envelope.stream_id = None
                return envelope
            return _dropped(envelope, "it names no channel or no topic")
        return self._decode_other(envelope)

    def _decode_repaired(self, frame: bytes | bytearray) -> Envelope | None:
        # A lone surrogate escape is JSON to Inngest, and a decoding error to strict readers.
        if b"\\u" not in frame:
            return None
        text = re.sub(_LONE_SURROGATE, _repaired, bytes(frame), flags=re.DOTALL)
        try:
            str(text, "utf-8")
            return self._decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _decode_other(self, envelope: Envelope) -> Envelope | Closing | None:
        match envelope.kind:
            case "chunk":
                return self._chunk(envelope)
            case "datastream-start" | "datastream-end":
                return self._boundary(envelope)
            case "run":
                # A run's lifecycle may lack a topic, and is delivered whatever its topic.
                envelope.stream_id = None
                return envelope if envelope.channel else _dropped(envelope, "it names no channel")
            case "closing":
                return CLOSING
            case _:
                return _dropped(envelope, "its kind is of no concern to subscribers")

    def _boundary(self, envelope: Envelope) -> Envelope | None:
        stream_id = _text(envelope.data)
        if not stream_id or len(stream_id) > _MAX_STREAM_ID or not envelope.channel or not envelope.topic:
            return _dropped(envelope, "it names no channel, topic or stream, or a stream by a text that is too long")
        envelope.stream_id = stream_id
        if envelope.kind == "datastream-end":
            if self._streams.pop(stream_id, None) is None:
                envelope.stream_id = None
            return envelope
        if stream_id in self._streams:
            return _dropped(envelope, "its stream has started already")
        # A record of its own: its index counts the chunks, the message's does not.
        self._streams[stream_id] = Envelope(
            "datastream-start", envelope.data, envelope.channel, envelope.topic, stream_id=stream_id
        )
        if len(self._streams) > MAX_OPEN_STREAMS:
            del self._streams[next(iter(self._streams))]
        return envelope

    def _chunk(self, envelope: Envelope) -> Envelope | None:
        start = self._streams.get(envelope.stream_id or "")
        if start is None:
            return _dropped(envelope, "the start of its stream was missed")
        if _text(envelope.data) is None:
            return _dropped(envelope, "its data is not a string")
        envelope.channel = start.channel
        envelope.topic = start.topic
        envelope.index = start.index
        start.index += 1
        return envelope


def is_decodable(envelope: Envelope) -> bool:
    """Whether every reader can decode the payload and the metadata."""
    metadata = envelope.metadata
    return not (_is_undecodable(envelope.data) or (len(metadata) > _SHORT and _is_undecodable(metadata)))


def _is_undecodable(raw: msgspec.Raw) -> bool:
    """Whether the JSON text nests too deep, or holds an integer that is too long, for some who decode it."""
    data = bytes(raw)
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deep(data):
        return True
    # Ten bytes, equally far apart, of each number that is too long are looked at first.
    if len(data) > MAX_DIGITS and re.search(_DIGITS, data[:: MAX_DIGITS // 10]) and re.search(_LONG_NUMBER, data):
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            return True
    return False


def _is_deep(data: bytes) -> bool:
    """Whether JSON text nests deeper than `MAX_DEPTH`. It costs as much as decoding the text does."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = data.translate(_BRACKETS, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = b"".join(brackets.split(b'"')[::2])
    for level in range(_LEVELS):
        if len(brackets) <= 2 * (MAX_DEPTH - level):
            return False
        # The innermost of each.
        brackets = brackets.replace(b"[]", b"")
    return max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b")), default=0) > MAX_DEPTH - _LEVELS


def _find_address(frame: bytes | bytearray) -> Unreadable | None:
    """Where a message belongs that can't be decoded; None for what is no message."""
    start = frame.rfind(b'"created_at":')
    if start < 0 or not frame.startswith(_MESSAGES):
        return None
    # Its time, channel and topic follow what its publisher gave. Else it may be that only another key is wrong.
    for text in (b"{" + frame[start:], frame):
        try:
            found = msgspec.json.decode(text, type=Unreadable)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if found.channel:
            return found
    return Unreadable()


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return None


def _repaired(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]


def _dropped(envelope: Envelope, why: str) -> Envelope | None:
    logger.debug("Dropped a %r frame of channel %r: %s.", envelope.kind[:40], envelope.channel[:200], why)
    return None


def subscribe_frame(token: str) -> str:
    """The frame that adds a token's topics to a connection. It is never acknowledged: a ping after it proves it."""
    return json.dumps({"kind": "sub", "data": token}, separators=(",", ":"))


def unsubscribe_frame(topics: Iterable[tuple[str, str]], *, env_id: str | None) -> str:
    """The frame that takes topics off a connection; any other form is silently ignored by the server.

    Args:
        topics: Pairs of channel and topic name.
        env_id: The `env` claim of the token that subscribed them.
    """
    data: list[dict[str, Any]] = [
        {"kind": "run", "channel": channel, "name": topic, "env_id": env_id} for channel, topic in topics
    ]
    return json.dumps({"kind": "unsub", "data": data}, separators=(",", ":"))
