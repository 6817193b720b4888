"""Sync code under ASGI: the thread that a request has for it, and the database connections of that thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.db import connections

from inngest_realtime_core.endpoints import wsgi

_T = TypeVar("_T")


in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)
"""Whether the thread of the request is in the middle of a transaction, which other threads do not see: in a test."""


def run_in_thread(function: Callable[..., _T], /, *args: Any) -> Awaitable[_T]:
    """Calls a synchronous `authorize` in a thread of its own: that of the request waits for it, and for no longer than
    the timeout. In a transaction it is called on the request's own thread, where its database connections are."""
    if in_transaction.get():
        return sync_to_async(function, thread_sensitive=True)(*args)
    return sync_to_async(_released, thread_sensitive=False)(function, *args)


def is_in_transaction() -> bool:
    """Whether this thread is in the middle of a transaction."""
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


def _released(function: Callable[..., _T], *args: Any) -> _T:
    try:
        return function(*args)
    finally:
        release_connections()


def run_coroutine(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs an asynchronous `authorize` under WSGI: its use of the ORM comes back to this thread."""
    if wsgi.greenlets():
        return wsgi.run_coroutine(coroutine)

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
    await sync_to_async(release_connections, thread_sensitive=True)()
    # As `ThreadSensitiveContext` does at its end.
    try:
        context = SyncToAsync.thread_sensitive_context.get(None)
        executor = None if context is None else SyncToAsync.context_to_thread_executor.pop(context, None)
    except AttributeError:
        return  # another asgiref, whose thread stays
    if executor is not None:
        executor.shutdown(wait=False)
