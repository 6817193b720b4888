"""Sync code under ASGI, and the database connections of the thread that it runs on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

__all__ = ["ReleasedConnections", "release_connections", "run_in_thread"]

_T = TypeVar("_T")


def run_in_thread(function: Callable[..., _T], /, *args: Any) -> Awaitable[_T]:
    """Calls a synchronous `authorize` on the request's own thread, where its database connections are."""
    return sync_to_async(function, thread_sensitive=True)(*args)


def release_connections() -> None:
    """Gives back this thread's database connections, those excepted that are in the middle of a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class ReleasedConnections:
    """A context, sync or async, at the end of which the request's thread holds no database connection."""

    def __init__(self, request: object = None) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        release_connections()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        await run_in_thread(release_connections)
