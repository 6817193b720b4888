"""Frames as Inngest sends them: recorded ones, and made ones of the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inngest_realtime_core._upstream.protocol import Decoder
from inngest_realtime_core.messages.envelope import Envelope

RECORDINGS = Path(__file__).parent / "frames"
ENV = "00000000-0000-4000-b000-000000000000"


def recorded(name: str) -> list[bytes]:
    """The frames of a recording in order."""
    lines = (RECORDINGS / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line).encode() for line in lines]


def time_of(number: int) -> str:
    """The `number`-th nanosecond of a minute, as the server prints it: trailing zeros of the fraction trimmed."""
    fraction = f"{number % 1_000_000_000:09d}".rstrip("0")
    return f"2026-11-24T13:20:{number // 1_000_000_000:02d}" + (f".{fraction}" if fraction else "") + "Z"


def frame(data: Any = None, *, kind: str = "data", channel: str = "c", topic: str = "t", number: int = 1) -> bytes:
    """A frame with the full envelope; `data` is any JSON value."""
    return json.dumps(
        {
            "kind": kind,
            "data": data,
            "created_at": time_of(number),
            "channel": channel,
            "env_id": ENV,
            "topic": topic,
        },
        separators=(",", ":"),
    ).encode()


def chunk_frame(stream: str, data: str) -> bytes:
    return json.dumps({"kind": "chunk", "stream_id": stream, "data": data}, separators=(",", ":")).encode()


def start_frame(stream: str, **where: Any) -> bytes:
    return frame(stream, kind="datastream-start", **where)


def end_frame(stream: str, **where: Any) -> bytes:
    return frame(stream, kind="datastream-end", **where)


def decoded(*frames: bytes) -> list[Envelope]:
    """The messages of these frames on one connection; frames that are no message are left out."""
    decoder = Decoder()
    return [envelope for raw in frames if isinstance(envelope := decoder.decode(raw), Envelope)]


def message_of(data: Any = None, **where: Any) -> Envelope:
    """The message of one made frame."""
    (envelope,) = decoded(frame(data, **where))
    return envelope
