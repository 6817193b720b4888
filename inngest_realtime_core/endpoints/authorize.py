"""Asking `authorize` of a grant, whatever kind of function it is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable
from typing import TypeVar, cast

__all__ = ["awaited", "is_async"]

_T = TypeVar("_T")


def is_async(function: object) -> bool:
    while isinstance(function, functools.partial):
        function = cast("functools.partial[object]", function).func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )


async def awaited(awaitable: Awaitable[_T]) -> _T:
    return await awaitable
