"""The times that Inngest writes: RFC 3339 in UTC with 0 to 9 fractional digits."""

from __future__ import annotations

from datetime import datetime, timezone


def sortable(text: str | None) -> str:
    """Bring an RFC 3339 time in UTC into a form that sorts as text: trailing zeros of its fraction may be missing."""
    if text is None:
        return ""
    return f"{text[:19]}.{text[20:].rstrip('Zz'):0<9}"


def parse_timestamp(text: str | None) -> datetime | None:
    """Read an RFC 3339 time with 0 to 9 fractional digits, cut to microseconds. None when it is no such time."""
    if text is None:
        return None
    try:
        whole, rest = text[:19], text[19:]
        moment = datetime.fromisoformat(whole)
        fraction = ""
        if rest.startswith("."):
            digits = len(rest) - len(rest[1:].lstrip("0123456789"))
            fraction, rest = rest[1:digits], rest[digits:]
        if fraction:
            moment = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
        if rest in {"Z", "z"}:
            return moment.replace(tzinfo=timezone.utc)
        offset = datetime.fromisoformat(whole + rest).tzinfo
        return None if offset is None else moment.replace(tzinfo=offset).astimezone(timezone.utc)
    except ValueError:
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
