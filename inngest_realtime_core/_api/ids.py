"""The ids that go with what is published: that of the message, and that of the function run it is published in."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import weakref
from contextvars import ContextVar
from typing import Final

from ..errors import PublishError

MAX_ID: Final = 200  # characters

_ULID: Final = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"

_made_by: tuple[int, str, itertools.count[int]] | None = None


def new_id() -> str:
    """A new id of a message: a random prefix of this process and a number. Callable from any thread.

    It is unique across threads, forks, restarts and machines.
    """
    global _made_by
    made_by = _made_by
    if made_by is None or made_by[0] != os.getpid():
        # After a fork the parent goes on with the same prefix.
        made_by = _made_by = os.getpid(), secrets.token_urlsafe(12), itertools.count(1)
    return f"{made_by[1]}.{next(made_by[2])}"


def check_id(id: object) -> str:
    """Return a message's id as it is, or raise `PublishError` when it is not a text of 1 to 200 characters."""
    if not isinstance(id, str) or not 0 < len(id) <= MAX_ID:
        raise PublishError(f"id must be a str of 1 to {MAX_ID} characters, or None for one that is made.")
    return id


class CurrentRun:
    """A run of an Inngest function, as `RealtimeMiddleware` says, for as long as its execution lasts.

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
