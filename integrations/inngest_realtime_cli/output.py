"""What the command writes: bytes to whoever reads them, and colours for people on a terminal."""

from __future__ import annotations

import os
import sys

__all__ = ["BOLD", "DIM", "GREEN", "RED", "YELLOW", "colours", "is_terminal", "paint", "write"]

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def is_terminal() -> bool:
    """Whether people read the output."""
    return sys.stdout.isatty()


def colours() -> bool:
    """Whether the output may have colours: on a terminal that knows them, unless NO_COLOR is set."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, enabled: bool) -> str:
    """`text` in a colour, or as it is."""
    return f"\x1b[{colour}m{text}\x1b[0m" if enabled else text


def write(line: bytes) -> None:
    """Write a line at once. Bytes, because the encoding of stdout is the terminal's and JSON is UTF-8."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
