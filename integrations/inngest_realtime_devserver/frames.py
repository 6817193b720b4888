"""The text of every frame that the server sends (PROTOCOL.md section 3), and its bytes on a WebSocket and in SSE."""

from __future__ import annotations

import json

import msgspec

from . import loose_json
from .identifiers import ENVIRONMENT_ID

__all__ = ["Frame", "chunk", "closing", "compact_json", "envelope", "ping", "pong", "quote"]

_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A  # final frames


class Frame:
    """One frame to subscribers, encoded once for all of them.

    Attributes:
        payload: Its text in UTF-8.
        websocket: An unfragmented, unmasked text frame.
    """

    __slots__ = ("_raw", "payload", "websocket")

    def __init__(self, payload: bytes, *, raw: bool = False) -> None:
        self.payload: bytes = payload
        self._raw = raw
        self.websocket: bytes = _header(_TEXT, len(payload)) + payload

    @property
    def sse(self) -> bytes:
        """What a client of `GET sse` gets: a data line, or for raw bytes the bytes themselves."""
        return self.payload if self._raw else b"data: " + self.payload + b"\n\n"


def envelope(
    kind: str,
    data: str,
    *,
    created_at: str,
    channel: str,
    topic: str,
    run_id: str | None = None,
    metadata: str | None = None,
) -> Frame:
    """A frame with the full envelope; `data` and `metadata` are compact JSON text."""
    parts = ['{"kind":"', kind, '","data":', data]
    if metadata is not None:
        parts += [',"metadata":', metadata]
    parts += [',"created_at":"', created_at, '"']
    if channel:
        parts += [',"channel":', quote(channel)]
    parts += [',"env_id":"', ENVIRONMENT_ID, '","topic":', quote(topic)]
    if run_id is not None:
        parts += [',"run_id":"', run_id, '"']
    parts.append("}")
    return Frame(_escape("".join(parts)))


def chunk(stream_id: str, data: str, *, run_id: str | None = None) -> Frame:
    """A piece of a data stream: it carries neither channel nor topic, time or environment."""
    tail = "}" if run_id is None else f',"run_id":"{run_id}"}}'
    return Frame(_escape(f'{{"kind":"chunk","stream_id":"{stream_id}","data":{quote(data)}{tail}'))


def closing(created_at: str) -> Frame:
    """The announcement that the server is about to go."""
    return Frame(f'{{"kind":"closing","data":"","created_at":"{created_at}","topic":""}}'.encode())


def ping(payload: bytes) -> bytes:
    """A WebSocket ping; `payload` is at most 125 bytes."""
    return _header(_PING, len(payload)) + payload


def pong(payload: bytes) -> bytes:
    """A WebSocket pong; `payload` is at most 125 bytes."""
    return _header(_PONG, len(payload)) + payload


def compact_json(text: str) -> str | None:
    """`text` without its insignificant white space, numbers and escapes untouched; None when it is not JSON."""
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return loose_json.compact(text)


def quote(text: str) -> str:
    """`text` as a JSON string, not yet escaped for HTML."""
    return json.dumps(text, ensure_ascii=False)


def _escape(text: str) -> bytes:
    # In valid JSON these characters occur inside strings only, so the whole frame can be escaped at once.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Bytes of a published JSON text that are not UTF-8 are passed on as they came.
    return text.encode(errors="surrogateescape")


def _header(opcode: int, length: int) -> bytes:
    if length < 126:
        return bytes((opcode, length))
    if length < 65_536:
        return bytes((opcode, 126)) + length.to_bytes(2, "big")
    return bytes((opcode, 127)) + length.to_bytes(8, "big")
