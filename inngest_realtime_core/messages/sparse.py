"""Types whose fields are left out of what is sent where they are None."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from pydantic import TypeAdapter

_sparse: WeakSet[TypeAdapter[Any]] = WeakSet()


def leave_none_out(adapter: TypeAdapter[Any]) -> None:
    """From now on, data of this type is sent without the fields that are None."""
    _sparse.add(adapter)


def leaves_none_out(adapter: TypeAdapter[Any]) -> bool:
    """Returns what to give pydantic as `exclude_none` when data of this type is encoded."""
    return adapter in _sparse
