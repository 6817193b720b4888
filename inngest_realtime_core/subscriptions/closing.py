"""What `close()` returns: it has acted already, and may be awaited for the end of everything."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any


class Closing(Coroutine[Any, Any, None]):
    """An awaitable that nobody has to await, accepted wherever a coroutine is: `gather`, `wait_for`, a `TaskGroup`.

    Args:
        wait: Makes the coroutine that waits for the end, once somebody awaits this.
    """

    __slots__ = ("_coroutine", "_wait")

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wait = wait
        self._coroutine: Coroutine[Any, Any, None] | None = None

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    def send(self, value: Any, /) -> Any:
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.send(value)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        if self._coroutine is None:
            self._coroutine = self._wait()
        thrown: Any = typ if val is None else val
        return self._coroutine.throw(thrown)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
