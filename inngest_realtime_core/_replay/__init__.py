"""What is kept of a channel for those who come back or come late."""

from __future__ import annotations
