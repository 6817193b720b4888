"""JSON as Go's `encoding/json` reads it, which Inngest's server uses: more lenient than the readers of Python.

Invalid UTF-8 becomes U+FFFD, the case of keys does not matter, escaped lone surrogates are valid, and values nest up to
10,000 deep. Nothing here recurses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["compact", "decode_bytes", "fold_keys", "read_first"]

MAX_DEPTH = 10_000  # the limit of Go's decoder

_UNDECODABLE = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = " \t\r\n"
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:"
    r"(?P<open>[{\[])|(?P<close>[}\]])|(?P<mark>[,:])"
    r'|(?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(?P<scalar>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)"
    r")"
)


def decode_bytes(body: bytes) -> str:
    """`body` as text, each byte that is not UTF-8 replaced by U+FFFD."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        # Python's own "replace" makes one U+FFFD of several bytes of a cut character; Go makes one of each byte.
        return _UNDECODABLE.sub("\ufffd", body.decode(errors="surrogateescape"))


def compact(text: str) -> str | None:
    """`text` without its insignificant white space, numbers and escapes untouched; None when it is not JSON."""
    parts: list[str] = []
    closing: list[str] = []  # what ends each open array and object
    expected = "value"  # or "first" (a value or the end), "key", "first key", "colon", "after" (a comma or the end)
    position = 0
    while match := _TOKEN.match(text, position):
        kind, token = cast("str", match.lastgroup), match[cast("str", match.lastgroup)]
        position = match.end()
        parts.append(token)
        if kind == "open" and expected in ("value", "first") and len(closing) < MAX_DEPTH:
            closing.append("}" if token == "{" else "]")
            expected = "first key" if token == "{" else "first"
        elif kind == "close" and expected in ("first", "first key", "after") and closing and closing[-1] == token:
            closing.pop()
            expected = "after"
        elif kind == "text" and expected in ("key", "first key"):
            expected = "colon"
        elif kind in ("text", "scalar") and expected in ("value", "first"):
            expected = "after"
        elif token == ":" and expected == "colon":
            expected = "value"
        elif token == "," and expected == "after" and closing:
            expected = "key" if closing[-1] == "}" else "value"
        else:
            return None
    complete = expected == "after" and not closing and not text[position:].strip(_SPACE)
    return "".join(parts) if complete else None


def read_first(body: bytes) -> Any:
    """The first JSON value in `body`; what follows it is not looked at. Numbers are all read as 0.

    Raises:
        ValueError: There is none.
    """
    decoder = json.JSONDecoder(parse_int=_zero, parse_float=_zero, parse_constant=_refuse)
    try:
        value, _ = decoder.raw_decode(decode_bytes(body).lstrip(_SPACE))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def fold_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same with keys in lower case, and lone surrogates in texts replaced by U+FFFD."""
    return {
        key.lower(): _SURROGATE.sub("\ufffd", item) if isinstance(item, str) else item for key, item in value.items()
    }


def _zero(text: str) -> int:
    return 0


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
