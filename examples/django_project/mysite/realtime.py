"""What the settings name: the `Realtime`, and what browsers may subscribe to."""

from __future__ import annotations

from inngest_realtime_core import Realtime
from pipeline import grants

__all__ = ["grants", "realtime"]

realtime = Realtime()
