"""The command `inngest-realtime`: follow a channel, publish to it, mint a token, run the embedded server."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
