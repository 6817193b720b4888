"""What subscribers receive: the envelope from Inngest, messages, data streams."""

from __future__ import annotations

from .data_stream import DataStream
from .message import Gap, GapReason, Kind, Message

__all__ = ["DataStream", "Gap", "GapReason", "Kind", "Message"]
