"""The run of an Inngest function that the calling code belongs to, as `RealtimeMiddleware` says."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Final

__all__ = ["current_run_id", "run_id_or_current", "usable_run_id"]

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE | re.ASCII)

current_run_id: Final[ContextVar[str | None]] = ContextVar("inngest_realtime_run_id", default=None)


def usable_run_id(run_id: object) -> str | None:
    """`run_id` when it is a ULID, as Inngest requires; None otherwise: `inngest.experimental.mocked` says "test"."""
    return run_id if isinstance(run_id, str) and _ULID.fullmatch(run_id) else None


def run_id_or_current(run_id: str | None) -> str | None:
    """`run_id`, or that of the run in which the caller is executed, or None outside of a run."""
    return current_run_id.get() if run_id is None else run_id
