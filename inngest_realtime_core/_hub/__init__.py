"""Who shares what: the channels of one event loop and their readers."""

from __future__ import annotations
