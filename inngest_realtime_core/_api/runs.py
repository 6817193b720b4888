"""The run of an Inngest function that the calling code belongs to, as `RealtimeMiddleware` says."""

from __future__ import annotations

import re
import weakref
from contextvars import ContextVar
from typing import Final

_ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"


class CurrentRun:
    """A run, for as long as its execution lasts.

    Args:
        id: The run's id, or None when it is none that Inngest would take.
        execution: What lives as long as the execution. A thread that is used again is not in the run any more, also
            when nobody has said that the execution has ended.
    """

    __slots__ = ("_execution", "_id")

    def __init__(self, id: str | None, execution: object) -> None:
        self._id = id
        self._execution = weakref.ref(execution)

    @property
    def id(self) -> str | None:
        """The run's id; None once the execution has ended."""
        return None if self._execution() is None else self._id

    def shares_execution(self, other: CurrentRun) -> bool:
        """Whether both are of one execution: a client and a function may each have a middleware."""
        return self._execution == other._execution


current_run: Final[ContextVar[CurrentRun | None]] = ContextVar("inngest_realtime_run", default=None)


def usable_run_id(run_id: object) -> str | None:
    """`run_id` when it is a ULID, as Inngest requires; None otherwise: `inngest.experimental.mocked` says "test"."""
    return run_id if isinstance(run_id, str) and re.fullmatch(_ULID, run_id, re.IGNORECASE | re.ASCII) else None


def run_id_or_current(run_id: str | None) -> str | None:
    """`run_id`, or that of the run in which the caller is executed, or None outside of a run."""
    if run_id is not None:
        return run_id
    run = current_run.get()
    return None if run is None else run.id
