"""What `subscribe()` gives: a subscription that is to be awaited or entered; and what the floors above make of one."""

from __future__ import annotations

import asyncio
import contextvars
import warnings
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from .._concurrency.background import run_sync
from .._concurrency.tasks import LazyCoroutine
from .._hub.readers import Readers
from ..errors import ConfigurationError
from .face import readers_of
from .subscription import Subscription
from .sync import SyncSubscription

_INSTEAD = (
    "subscribe() opens nothing before it is awaited. Write `async with realtime.subscribe(...) as subscription:` or "
    "`subscription = await realtime.subscribe(...)`, and then `async for message in subscription:`; where no event "
    "loop is running, `for message in realtime.subscribe_sync(...):`."
)

_Open = Callable[[], Coroutine[Any, Any, Readers]]


class PendingSubscription(LazyCoroutine[Subscription]):
    """A subscription to be opened: `await` it, or enter it with `async with`, for the `Subscription`."""

    # Without `__dict__`: FastAPI would make JSON of that where a route returns this.
    __slots__ = ("__weakref__", "_entered", "_open", "_subscription", "_used")

    def __init__(self, open_: _Open) -> None:
        self._open = open_
        self._used = False
        self._entered = False
        self._subscription: Subscription | None = None

    # Used at once: a task that is cancelled before its first step has awaited it all the same.

    def __aenter__(self) -> CoroutineType[Any, Any, Subscription]:
        # What a checker takes the result of `async def` for is not what the other one does.
        entered: CoroutineType[Any, Any, Subscription] = cast("Any", self._enter(self._use()))
        return entered

    async def _enter(self, open_: _Open) -> Subscription:
        if self._entered:
            raise ConfigurationError(
                "This subscription is entered already, and one block would close that of the other. Call subscribe() "
                "for each `async with`."
            )
        self._entered = True
        try:
            self._subscription = Subscription(await open_())
        except BaseException:
            self._entered = False
            raise
        return await self._subscription.__aenter__()

    async def __aexit__(self, *exception: object) -> None:
        subscription, self._subscription = self._subscription, None
        self._entered = False
        if subscription is not None:
            await subscription.__aexit__(*exception)

    def _use(self) -> _Open:
        """Returns what opens it, for whoever is about to."""
        self._used = True
        return self._open

    def _start(self) -> Coroutine[Any, Any, Subscription]:
        return _opened(self._use())

    def close(self) -> None:
        """Opens nothing, as `close()` of a coroutine."""
        self._used = True
        super().close()

    # What is written by mistake.

    def __del__(self) -> None:
        if not self._used:
            warnings.warn(f"A subscription was never awaited. {_INSTEAD}", RuntimeWarning, stacklevel=2, source=self)

    def _misused(self) -> ConfigurationError:
        """Returns the error that says what to write. It is told once."""
        self._used = True
        return ConfigurationError(_INSTEAD)

    # Checkers are to refuse these, and take what returns `NoReturn` for code that nothing follows.
    if not TYPE_CHECKING:

        def __aiter__(self) -> NoReturn:
            raise self._misused()

        def __iter__(self) -> NoReturn:
            raise self._misused()

        def __enter__(self) -> NoReturn:
            raise self._misused()

        def __exit__(self, *_: object) -> None: ...

        def __getattr__(self, name: str) -> NoReturn:
            hint = "It is a PendingSubscription."
            if not name.startswith("_") and hasattr(Subscription, name):
                hint = str(self._misused())
            raise AttributeError(f"There is no {name!r} here. {hint}")


async def _opened(open_: _Open) -> Subscription:
    return Subscription(await open_())


def open_sync(pending: PendingSubscription) -> SyncSubscription:
    """Opens a subscription on the background loop, for the calling thread."""
    open_ = pending._use()  # pyright: ignore[reportPrivateUsage] - of this file

    async def opened() -> SyncSubscription:
        # Here: what interrupts the thread when it is open already, such as Ctrl-C, leaves it to the garbage collector.
        return SyncSubscription(await open_())

    return run_sync(opened)


def sync_face(subscription: Subscription) -> SyncSubscription:
    """Returns the sync face of a subscription on the background loop."""
    return SyncSubscription(readers_of(subscription))


def resume(subscription: Subscription | SyncSubscription, last_event_id: str | None) -> None:
    """Lets messages of the subscription itself have event ids, and begin where a client left off."""
    readers_of(subscription).resume(last_event_id or "")


def close_with_task(subscription: Subscription) -> Subscription:
    """Has the subscription closed when the task that runs now ends: the one of a request, until its response has ended.

    A generator of the application's that is cancelled while it iterates may be held by its exception for long.
    """
    readers = readers_of(subscription)
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(lambda _: readers.close(), context=contextvars.Context())
    return subscription
