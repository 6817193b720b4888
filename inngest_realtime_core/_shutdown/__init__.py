"""Noticing that the process is asked to stop."""

from __future__ import annotations
