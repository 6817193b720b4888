"""The identifiers that Inngest puts into tokens and frames: fixed UUIDs, ULIDs and stream ids."""

from __future__ import annotations

import hashlib
import secrets
import string
import time

__all__ = ["ACCOUNT_ID", "ENVIRONMENT_ID", "is_ulid", "new_stream_id", "new_ulid", "parse_ulid", "sealed"]

ACCOUNT_ID = "00000000-0000-4000-a000-000000000000"
ENVIRONMENT_ID = "00000000-0000-4000-b000-000000000000"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE36 = string.digits + string.ascii_lowercase
_ULID_LENGTH = 26


def new_ulid() -> str:
    """A ULID: 48 bits of milliseconds since 1970, then 80 random bits, as 26 characters."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return _ulid(value)


def sealed(ulid: str, key: bytes) -> str:
    """The ULID with 40 of its bits replaced by a proof that it was made with this key."""
    proof = int.from_bytes(hashlib.blake2b(ulid[:18].encode(), key=key, digest_size=5).digest(), "big")
    return ulid[:18] + _ulid(proof)[18:]


def is_ulid(text: str) -> bool:
    """Whether Inngest reads `text` as a ULID: by its length and its first character."""
    characters = text.encode(errors="replace")
    return len(characters) == _ULID_LENGTH and characters[0] <= ord("7")


def parse_ulid(text: str) -> str | None:
    """`text` as a ULID in upper case, or None when it has another length, is too large or is the zero one.

    A character that does not belong into a ULID is not refused: it sets all bits that it has a part in, as in the
    parser that Inngest uses.
    """
    if not is_ulid(text):
        return None
    characters = text.upper().encode()
    identifier = bytearray(16)
    for index, character in enumerate(characters):
        bits = _CROCKFORD.find(chr(character))
        for place in {max(5 * index - 2, 0) // 8, (5 * index + 2) // 8}:
            shift = 8 * place + 8 - (5 * index + 3)
            value = 0xFF if bits < 0 else bits
            identifier[place] |= (value << shift if shift >= 0 else value >> -shift) & 0xFF
    return _ulid(int.from_bytes(identifier, "big")) if any(identifier) else None


def new_stream_id() -> str:
    """A data stream's id: 13 random digits in base 36, such as `33h4hr4dqtema`."""
    return "".join(secrets.choice(_BASE36) for _ in range(13))


def _ulid(value: int) -> str:
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))
