"""A client of Redis for one event loop, from a URL or from a client that the application has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, cast

from inngest_realtime_core._concurrency.tasks import create_shared_task, deadline, end_tasks, look_at_failure
from inngest_realtime_core.errors import ConfigurationError

__all__ = ["Executor", "execute_pipeline", "new_client", "source_problem"]

_GRACE: Final = 0.25  # the last seconds of these, within which a reply is read that has come
_CLEAN_UP: Final = 5  # times as long nobody waits any more, and the connection is given up
# Taken of a client that the application has, beside what begins with `ssl_` or `socket_keepalive`.
_TAKEN: Final = ("host", "port", "db", "username", "password", "path", "protocol", "client_name", "credential_provider")
_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def source_problem(source: object) -> ConfigurationError | None:
    """Why a client cannot be made of this. Returned, not raised: error reports show local variables of frames.

    The message does not repeat a URL, which may hold a password.
    """
    if not isinstance(source, str):
        pool = getattr(source, "connection_pool", None)
        if hasattr(pool, "sentinel_manager"):
            return ConfigurationError(
                "RedisReplay does not ask a Sentinel where the primary is. Pass the URL of the primary, or of a proxy "
                "that knows it."
            )
        if pool is None:
            return ConfigurationError(
                f"RedisReplay takes the URL of a Redis or a client of the package redis, not {type(source).__name__}."
            )
        return _option_problem(source)
    if not source.startswith(_SCHEMES):
        return ConfigurationError(f"The URL of a RedisReplay begins with one of {', '.join(_SCHEMES)}.")
    from redis.asyncio import connection

    path = source.partition("://")[2].partition("/")[2].partition("?")[0]
    if "@" in path and not source.startswith("unix"):
        # What is before it would be taken for a host, and be told where that cannot be reached.
        return ConfigurationError("The URL of a RedisReplay has a / in its password. Write %2F there.")
    try:
        cast("Any", connection).parse_url(source)
    except ValueError:
        return ConfigurationError("The URL of a RedisReplay is not valid. Expected redis://host:port/number.")
    return _option_problem(source)


def _option_problem(source: object) -> ConfigurationError | None:
    try:
        new_client(source, 1.0).connection_pool.make_connection()  # not connected
    except Exception:
        # Whatever redis says of it may hold a part of a URL.
        return ConfigurationError(
            "RedisReplay connects by asyncio, and redis does not take all options of this URL or client there. Leave "
            "out those it does not document."
        )
    return None


def new_client(source: Any, timeout: float) -> Any:
    """A client for the running event loop, with connections of its own. Its commands are not typed for one face."""
    from redis.asyncio import ConnectionPool, Redis, connection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as BrokenConnectionError

    options: dict[str, Any] = {
        "socket_timeout": _CLEAN_UP * timeout,
        "socket_connect_timeout": _CLEAN_UP * timeout,
        # At once, where the connection is at fault and Redis is not: else a message is sent that is not recorded, and
        # until Redis is told so others take what it has for all. Each script may run twice.
        "retry": Retry(NoBackoff(), 1, (BrokenConnectionError,)),
        "retry_on_error": [BrokenConnectionError],  # redis 5 asks for both
    }
    if isinstance(source, str):
        given = cast("Any", connection).parse_url(source)
        kind = given.pop("connection_class", connection.Connection)
        given.pop("decode_responses", None)
    else:
        pool = source.connection_pool
        kind = getattr(connection, pool.connection_class.__name__, connection.Connection)
        # What is None may be unknown to connections of asyncio.
        given = {
            name: value
            for name, value in pool.connection_kwargs.items()
            if value is not None
            and (name in _TAKEN or name.startswith(("ssl_", "socket_keepalive")))
            and not (name.startswith("ssl_validate_ocsp") and not value)
        }
    made = cast("Any", ConnectionPool)(connection_class=kind, **{**options, **given})
    return cast("Any", Redis).from_pool(made)


class Executor:
    """Waits for commands, each in a task of its own, and not for longer than `timeout` seconds.

    Because redis swallows a cancellation now and then (132 of 300 tried), and with it the end of whoever waits; and in
    an empty context, which a connection that it opens would keep.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, command: Awaitable[Any]) -> Any:
        task = create_shared_task(_awaited(command), name="inngest-realtime redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(look_at_failure)
        # Where the process stood still for so long, the reply is there, and was not read yet.
        for seconds in (self._timeout - _GRACE, _GRACE):
            # Not by shield(): it would cancel whoever waits when `close()` cancels the command.
            with deadline(seconds):
                await asyncio.wait([task])
                break
        if not task.done() or task.cancelled():
            raise TimeoutError
        return task.result()

    async def close(self) -> None:
        """Ends the commands that are under way; for who waits for one it came too late."""
        await end_tasks(self._tasks)


async def execute_pipeline(pipeline: Any) -> list[Any]:
    """Returns the replies, errors among them. Its connection is free again when it has read them, and not before.

    An `Executor` may have stopped waiting for that long ago.
    """
    async with pipeline:
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


async def _awaited(command: Awaitable[Any]) -> Any:
    return await command
