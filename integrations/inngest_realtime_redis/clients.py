"""A client of Redis for one event loop, from a URL or from a client that the application has."""

from __future__ import annotations

from typing import Any, Final, cast

from inngest_realtime_core.errors import ConfigurationError

__all__ = ["check_source", "new_client"]

_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def check_source(source: object) -> None:
    """Raise `ConfigurationError` when a client cannot be made of this. The message does not repeat a URL."""
    if isinstance(source, str):
        if not source.startswith(_SCHEMES):
            raise ConfigurationError(f"The URL of a RedisReplay begins with one of {', '.join(_SCHEMES)}.")
        _options_of(source)
    elif not hasattr(source, "connection_pool"):
        raise ConfigurationError(
            f"RedisReplay takes the URL of a Redis or a client of the package redis, not {type(source).__name__}."
        )


def _options_of(url: str) -> None:
    from redis.asyncio import connection

    try:
        cast("Any", connection).parse_url(url)
    except ValueError:
        raise ConfigurationError("The URL of a RedisReplay is not valid. Expected redis://host:port/number.") from None


def new_client(source: Any, timeout: float) -> Any:
    """A client for the running event loop, with connections of its own. Its commands are not typed for one face."""
    from redis.asyncio import ConnectionPool, Redis, connection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
    }
    if isinstance(source, str):
        return cast("Any", Redis).from_url(source, **options)
    pool = source.connection_pool
    kind = getattr(connection, pool.connection_class.__name__, connection.Connection)
    known = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if name
        in ("host", "port", "db", "username", "password", "path", "protocol", "client_name", "credential_provider")
        or name.startswith(("ssl_", "socket_keepalive"))
    }
    made = cast("Any", ConnectionPool)(connection_class=kind, **{**known, **options})
    return cast("Any", Redis).from_pool(made)
