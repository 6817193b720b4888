"""Threads, greenlets and event loops: the background loop that the sync face uses."""

from __future__ import annotations
