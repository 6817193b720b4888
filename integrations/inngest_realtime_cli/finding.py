"""One thing that the doctor has found out."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["Finding", "Level", "note", "ok", "problem"]


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


class Finding(NamedTuple):
    """What was looked at, and what about it, with what to do where something is wrong."""

    level: Level
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(Level.OK, subject, text)


def note(subject: str, text: str) -> Finding:
    """Something that may be meant."""
    return Finding(Level.NOTE, subject, text)


def problem(subject: str, text: str) -> Finding:
    """Something that is wrong."""
    return Finding(Level.PROBLEM, subject, " ".join(text.split()))
