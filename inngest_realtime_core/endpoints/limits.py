"""Limits of what clients can cause: open streams, requests in a second, tokens under way, a failing Inngest."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ..arguments import describe
from ..errors import ConfigurationError, InngestError, UnreachableError
from .errors import EndpointError

_RETRY_FULL: Final = 5  # seconds after which a stream has probably ended
_FAILURES: Final = 3  # in a row, until Inngest is left alone for a while
_PAUSE: Final = 2.0  # seconds for which it is
_TRIAL: Final = 10.0  # seconds that Inngest may take to respond to the next request
_SLOW: Final = 1.0  # seconds within which a response holds nobody up, whatever it says
_MAX_NAME: Final = 128  # characters


def client_name(client: object) -> str | None:
    """Returns what `client` has said of a request as a text that is kept while the client is limited: a short one.

    Raises:
        ConfigurationError: It is an object that is told from others by its address alone, and so never seen again.
    """
    if client is None:
        return None
    if type(client).__str__ is object.__str__ and type(client).__repr__ is object.__repr__:
        raise ConfigurationError(
            f"client returned {describe(client)}: expected a text that says whose the request is, such as the id of "
            "its user, or None for a request that is not limited."
        )
    name = str(client)
    # It may be a header, of which a stranger sends any number, each of any length.
    return name if len(name) <= _MAX_NAME else hashlib.blake2b(name.encode(errors="replace")).hexdigest()


class PerProcess:
    """What is counted in a process. The child of a fork begins anew: with nothing that its parent has under way, and
    with locks that none of its threads holds."""

    def __init__(self) -> None:
        self.begin()
        _counted.add(self)

    def begin(self) -> None:
        """Called when it is made, and in the child of a fork."""
        self._lock = threading.Lock()


_counted: Final[weakref.WeakSet[PerProcess]] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_counted):
        each.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class StreamSlots(PerProcess):
    """The streams that are open in this process, of all clients and of each.

    Args:
        limit: Of all clients together; None for no limit.
        per_client: Of one client; None for no limit.
    """

    def __init__(self, limit: int | None, per_client: int | None) -> None:
        self._limit = limit
        self._per_client = per_client
        super().__init__()

    def begin(self) -> None:
        super().begin()
        self._open = 0
        self._by_client: dict[str, int] = {}

    @property
    def limit(self) -> int | None:
        """How many there are; None for no limit."""
        return self._limit

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._open

    @contextmanager
    def taken(self, client: str | None) -> Generator[None, None, None]:
        """A slot, as long as a stream is open. Raises as `acquire` does."""
        self.acquire(client)
        process = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == process:  # the child of a fork ends what its parent has taken a slot for
                self.release(client)

    def acquire(self, client: str | None) -> None:
        """Takes a slot.

        Raises:
            EndpointError: 503 when all are taken, 429 when the client has its share.
        """
        with self._lock:
            of_client = 0 if client is None else self._by_client.get(client, 0)
            if self._per_client is not None and client is not None and of_client >= self._per_client:
                message = f"You have {of_client} streams open, which is the limit for one client; close one."
                raise EndpointError(429, "too_many_streams_per_client", message, retry_after=_RETRY_FULL)
            if self._limit is not None and self._open >= self._limit:
                message = f"This server has all of its {self._limit} streams open; ask again."
                raise EndpointError(503, "too_many_streams", message, retry_after=_RETRY_FULL)
            self._open += 1
            if client is not None:
                self._by_client[client] = of_client + 1

    def release(self, client: str | None) -> None:
        with self._lock:
            self._open -= 1
            if client is not None:
                left = self._by_client[client] - 1
                if left:
                    self._by_client[client] = left
                else:
                    del self._by_client[client]


class RateLimit(PerProcess):
    """How often one client may ask for something new: a token bucket for each."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        super().__init__()

    def begin(self) -> None:
        super().begin()
        # Client -> when its bucket would be full again. One that is full is not kept.
        self._full_at: dict[str, float] = {}
        self._next_sweep = 0.0

    def spend(self, client: str | None) -> None:
        """Counts one request.

        Raises:
            EndpointError: 429, the client has asked for too much.
        """
        if client is None:
            return
        now = time.monotonic()
        with self._lock:
            if now >= self._next_sweep:
                self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
                self._next_sweep = now + self._burst / self._rate
            missing = max(self._full_at.get(client, now) - now, 0.0) * self._rate
            if missing > self._burst - 1:
                retry_after = max(math.ceil((missing - self._burst + 1) / self._rate), 1)
                message = "You ask for new channels and tokens too often; wait a moment."
                raise EndpointError(429, "too_many_requests", message, retry_after=retry_after)
            self._full_at[client] = now + (missing + 1) / self._rate


class TokenGate(PerProcess):
    """The token requests that are under way.

    Args:
        limit: How many.
        patience: Seconds within which the first of them has to end for a thread to wait for its turn, while fewer than
            twice as many wait: a burst is served, and an Inngest that stalls soon holds no more threads than the limit.
    """

    def __init__(self, limit: int, *, patience: float = 0.0) -> None:
        self._limit = limit
        self._patience = patience
        super().__init__()

    def begin(self) -> None:
        self._slots = threading.BoundedSemaphore(self._limit)
        self._waiting = threading.BoundedSemaphore(2 * self._limit)
        self._began: dict[object, float] = {}  # when each that is under way began

    @contextmanager
    def entered(self) -> Generator[None, None, None]:
        """A token request.

        Raises:
            EndpointError: 503, too many are under way.
        """
        if not self._slots.acquire(blocking=False) and not self._wait():
            message = "This server asks Inngest for as many tokens as it can; ask again."
            raise EndpointError(503, "too_many_token_requests", message, retry_after=1)
        request = object()
        self._began[request] = time.monotonic()
        try:
            yield
        finally:
            del self._began[request]
            self._slots.release()

    def _wait(self) -> bool:
        if not self._patience or not self._waiting.acquire(blocking=False):
            return False
        try:
            now = time.monotonic()
            # From when the first began, not from now: others who come while it stalls would hold a thread each.
            left = min(list(self._began.values()), default=now) + self._patience - now
            return left > 0 and self._slots.acquire(timeout=left)
        finally:
            self._waiting.release()


class CircuitBreaker(PerProcess):
    """Leaves an Inngest that does not respond alone for a while, so that whoever asks is told at once.

    After three failures in a row requests are refused for two seconds; then one is let through, and decides.
    """

    def begin(self) -> None:
        super().begin()
        self._failures = 0
        self._open_until = 0.0

    @contextmanager
    def entered(self) -> Generator[None, None, None]:
        """A request to Inngest, whose outcome counts.

        Raises:
            EndpointError: 503, it did not respond a moment ago.
        """
        on_trial = self.check()
        began = time.monotonic()
        try:
            yield
        except UnreachableError:
            self.failed()
            raise
        except InngestError as error:
            # Errors of its own that come at once hold nobody up.
            if (error.status or 0) >= 500 and time.monotonic() - began > _SLOW:
                self.failed()
            else:
                self.succeeded()
            raise
        except BaseException:
            # Nobody waits for the response any more, so the next one decides.
            if on_trial:
                self._open_until = time.monotonic()
            raise
        self.succeeded()

    def check(self) -> bool:
        """Called before Inngest is asked. Returns whether its response decides for others.

        Raises:
            EndpointError: 503, it did not respond a moment ago.
        """
        with self._lock:
            if self._failures < _FAILURES:
                return False
            now = time.monotonic()
            if now < self._open_until:
                message = "Inngest cannot be reached; ask again."
                raise EndpointError(503, "inngest_unreachable", message, retry_after=math.ceil(_PAUSE))
            # This one is let through; those that come meanwhile are not.
            self._open_until = now + _TRIAL
            return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._open_until = time.monotonic() + _PAUSE
