"""`inngest-realtime tail`: what arrives on a channel, for people or for programs."""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from typing import Any

from inngest_realtime_core.messages.message import Gap, Message

from .output import DIM, RED, YELLOW, paint

__all__ = ["readable"]

_TOPIC_COLOURS = ("36", "32", "35", "34", "96", "92")


def readable(message: Message[Any], *, colours: bool) -> bytes:
    """A message as a line for people: the time, the topic, the data."""
    created_at = message.created_at or datetime.now().astimezone()
    time = paint(f"{created_at.astimezone():%H:%M:%S.%f}"[:-3], DIM, enabled=colours)
    if isinstance(message.data, Gap):
        missed = "messages may have been" if message.data.missed is None else f"{message.data.missed} messages were"
        text = paint(f"gap: {missed} missed ({message.data.reason})", RED, enabled=colours)
        return f"{time}  {text}".encode()
    topic = _printable(message.topic) or "-"
    colour = _TOPIC_COLOURS[zlib.crc32(topic.encode()) % len(_TOPIC_COLOURS)]
    kind = "" if message.kind == "data" else paint(f"{message.kind} ", YELLOW, enabled=colours)
    # JSON escapes what would move the cursor; the rest is left readable.
    data = _printable(json.dumps(message.data, ensure_ascii=False))
    return f"{time}  {paint(f'{topic:<12}', colour, enabled=colours)}  {kind}{data}".encode(errors="replace")


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() or each == " " else f"\\u{ord(each):04x}" for each in text)
