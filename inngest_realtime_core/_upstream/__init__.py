"""One connection to Inngest for many channels: the WebSocket, kept, renewed and replaced."""

from __future__ import annotations
