"""The ids that published messages are known by: unique across threads, forks, restarts and machines."""

from __future__ import annotations

import itertools
import os
import secrets
from typing import Final

from ..errors import PublishError

MAX_ID: Final = 200  # characters

_made_by: tuple[int, str, itertools.count[int]] | None = None


def new_id() -> str:
    """A new id: a random prefix of this process and a number. Callable from any thread."""
    global _made_by
    made_by = _made_by
    if made_by is None or made_by[0] != os.getpid():
        # After a fork the parent goes on with the same prefix.
        made_by = _made_by = os.getpid(), secrets.token_urlsafe(12), itertools.count(1)
    return f"{made_by[1]}.{next(made_by[2])}"


def check_id(id: object) -> str:
    """Return an id as it is, or raise `PublishError` when it is not a text of 1 to 200 characters."""
    if not isinstance(id, str) or not 0 < len(id) <= MAX_ID:
        raise PublishError(f"id must be a str of 1 to {MAX_ID} characters, or None for one that is made.")
    return id
