"""The next messages of a subscription, within a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["receive", "receive_sync"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class _Receives(Protocol[_T_co]):
    """A `SyncSubscription`; not by its name, which the plugin would have to import."""

    def receive(self, timeout: float | None = None) -> _T_co | None: ...


async def receive(stream: AsyncIterator[_T], count: int = 1, *, timeout: float = 5.0) -> list[_T]:
    """The next `count` messages of a subscription, or of its `get_json_stream()`.

    Args:
        timeout: Seconds for all of them together.

    Raises:
        TimeoutError: They did not come in time; the message says what did come.
        EOFError: The stream ended before.
    """
    received: list[_T] = []
    deadline = time.monotonic() + timeout
    while len(received) < count:
        try:
            received.append(await asyncio.wait_for(anext(stream), deadline - time.monotonic()))
        except (asyncio.TimeoutError, TimeoutError):
            raise _too_few(received, count, timeout) from None
        except StopAsyncIteration:
            raise _ended(received, count) from None
    return received


def receive_sync(stream: _Receives[_T], count: int = 1, *, timeout: float = 5.0) -> list[_T]:
    """The sync twin of `receive`.

    Args:
        timeout: Seconds for all of them together.

    Raises:
        TimeoutError: They did not come in time; the message says what did come.
        EOFError: The stream ended before.
    """
    received: list[_T] = []
    deadline = time.monotonic() + timeout
    while len(received) < count:
        try:
            message = stream.receive(timeout=max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            raise _too_few(received, count, timeout) from None
        if message is None:
            raise _ended(received, count)
        received.append(message)
    return received


def _too_few(received: Sequence[object], count: int, timeout: float) -> TimeoutError:
    return TimeoutError(f"{len(received)} of {count} messages came within {timeout} s: {received!r}.")


def _ended(received: Sequence[object], count: int) -> EOFError:
    return EOFError(f"The subscription ended after {len(received)} of {count} messages: {received!r}.")
