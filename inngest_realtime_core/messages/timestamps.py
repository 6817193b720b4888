"""The times that Inngest writes: RFC 3339 in UTC with 0 to 9 fractional digits."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

import msgspec

_MICROSECONDS: Final = re.compile(r"(\.\d{6})\d+")  # with what is cut off: it would be rounded


def sortable(text: str | None) -> str:
    """Bring an RFC 3339 time in UTC into a form that sorts as text: trailing zeros of its fraction may be missing."""
    if text is None:
        return ""
    return f"{text[:19]}.{text[20:].rstrip('Zz'):0<9}"


def parse_timestamp(text: str | None) -> datetime | None:
    """Read an RFC 3339 time with 0 to 9 fractional digits, cut to microseconds. None when it is no such time."""
    try:
        moment = msgspec.convert(_MICROSECONDS.sub(r"\1", text or ""), datetime)
        return None if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except (msgspec.ValidationError, OverflowError):
        return None


def milliseconds(text: str | None) -> str | None:
    """Cut an RFC 3339 time to milliseconds the way JavaScript's `Date.toISOString` prints it."""
    if text is None:
        return None
    if len(text) >= 24 and text[19] == "." and text[-1] == "Z":
        # The form that Inngest sends, cut without parsing it: this is on the path of every message.
        return text[:23] + "Z"
    moment = parse_timestamp(text)
    return None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
