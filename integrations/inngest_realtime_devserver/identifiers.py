"""The identifiers that Inngest puts into tokens and frames: fixed UUIDs, ULIDs and stream ids."""

from __future__ import annotations

import secrets
import time

__all__ = ["ACCOUNT_ID", "ENVIRONMENT_ID", "new_stream_id", "new_ulid", "parse_ulid"]

ACCOUNT_ID = "00000000-0000-4000-a000-000000000000"
ENVIRONMENT_ID = "00000000-0000-4000-b000-000000000000"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_ULID_LENGTH = 26


def new_ulid() -> str:
    """A ULID: 48 bits of milliseconds since 1970, then 80 random bits, as 26 characters."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def parse_ulid(text: str) -> str | None:
    """`text` in upper case when it is a ULID other than the zero one, else None."""
    ulid = text.upper()
    if len(ulid) != _ULID_LENGTH or ulid[0] > "7" or not set(ulid) <= set(_CROCKFORD) or not ulid.strip("0"):
        return None
    return ulid


def new_stream_id() -> str:
    """A data stream's id: 64 random bits in base 36, such as `33h4hr4dqtema`."""
    value = secrets.randbits(64) | 1
    digits: list[str] = []
    while value:
        value, digit = divmod(value, 36)
        digits.append(_BASE36[digit])
    return "".join(reversed(digits))
