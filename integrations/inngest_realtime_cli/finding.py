"""One thing that the doctor has found out."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["Finding", "Level", "connection_hint", "note", "ok", "problem"]


# What getaddrinfo says of a name on Linux (glibc and musl), macOS and Windows.
_UNKNOWN_NAME = (
    "Name or service not known",
    "Name does not resolve",
    "nodename nor servname provided",
    "getaddrinfo failed",
    "name resolution",
)


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


def connection_hint(text: str) -> str:
    """What to do about an error of a connection, if it is one of TLS, its absence, or a name; else an empty text."""
    if "certificate verify failed" in text.lower():
        return (
            " This machine does not trust the certificate, or it is not for that host. Name the file of its authority "
            "in SSL_CERT_FILE, which this package and Python read."
        )
    if "SSL" in text:
        return " The address begins with https, and what listens there does not speak TLS: is http:// meant?"
    if any(sign in text for sign in _UNKNOWN_NAME):
        return " This machine finds no address for the host's name: is it written right, and known to the DNS here?"
    if any(sign in text for sign in ("ReadError", "RemoteProtocolError", "closed before the response was complete")):
        return " Something listens there and does not speak HTTP: is https:// meant, or another port?"
    return ""
