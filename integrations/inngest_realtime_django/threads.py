"""Sync code under ASGI: the thread that a request has for it, and the database connections of that thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.db import connections

from inngest_realtime_core._concurrency import background as core
from inngest_realtime_core._concurrency.threads import greenlets

__all__ = ["Released", "release_connections", "release_thread", "run_coroutine", "run_in_thread"]

_T = TypeVar("_T")


def run_in_thread(function: Callable[..., _T], /, *args: Any) -> Awaitable[_T]:
    """Calls a synchronous `authorize` on the request's own thread, where its database connections are."""
    return sync_to_async(function, thread_sensitive=True)(*args)


def run_coroutine(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs an asynchronous `authorize` under WSGI: its use of the ORM comes back to this thread."""
    if greenlets():
        return core.run_coroutine(coroutine)

    async def awaited() -> _T:
        return await coroutine

    return async_to_sync(awaited)()


def release_connections() -> None:
    """Gives back this thread's database connections, those excepted that are in the middle of a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def release_thread() -> None:
    """Gives back what a request holds under ASGI: its database connections, and its thread for sync code.

    Django keeps that thread until the response has ended, which for a stream may be hours. The next sync code of the
    request gets a new one.
    """
    await run_in_thread(release_connections)
    # As `ThreadSensitiveContext` does at its end.
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = None if context is None else SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)


class Released:
    """A context, sync or async, at the end of which the request holds no database connection, and under ASGI no
    thread."""

    def __init__(self, request: object = None) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        release_connections()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        await release_thread()
