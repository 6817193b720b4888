"""The command `inngest-realtime`: follow a channel, publish to it, mint a token, run the embedded server."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130  # what shells expect of a program that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; None takes the process's own arguments. The result is the process's exit status."""
    try:
        # Loading the rest takes a second on a busy machine, and Ctrl-C may come then.
        from .commands import run

        return run(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
