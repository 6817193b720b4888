"""Many small parts in few messages: Inngest counts messages, and each is a request.

Parts are kept as the JSON that they become, so that the size of a message is known before it is sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic

import anyio
from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self, TypeVar

from .._concurrency.background import run_sync
from .._concurrency.tasks import call_after, create_task
from .._concurrency.threads import running_event_loop
from ..arguments import check_count, check_seconds
from ..errors import ConfigurationError, PublishError, RealtimeError, TopicError
from .payload import MAX_PAYLOAD, encode_payload

logger = logging.getLogger("inngest_realtime.batch")

B = TypeVar("B", bound="str | list[Any]", default=Any)

# The quotes of a text, or the brackets of a list, around what is joined, and what is put between two parts.
_JOINS = {"str": (b'"', b"", b'"'), "list": (b"[", b",", b"]")}
_LATENESS = 0.0025  # seconds; event loops count whole milliseconds, and call a timer late rather than early
_WRAPPERS = frozenset({"definitions", "function-after", "function-before", "function-wrap"})


class Batch(Generic[B]):
    """Collects parts of a text, or of a list, and publishes them together. `Realtime.batch()` makes it.

    Attributes:
        messages: How many messages it has published.
    """

    def __init__(
        self,
        publish: Callable[[Any], Coroutine[Any, Any, None]],
        name: str,
        adapter: TypeAdapter[B] | None,
        *,
        every: float,
        max_bytes: int,
    ) -> None:
        kind = _kind(adapter)
        if kind is None:
            raise TopicError(
                f"A batch needs a topic of str, whose parts it joins, or of a list; {name!r} is neither. "
                "Declare it so (tokens = topic(str)), or use publish().",
                topic=name,
            )
        check_seconds("every", every)
        if check_count("max_bytes", max_bytes) > MAX_PAYLOAD:
            raise ConfigurationError(f"max_bytes is {max_bytes:,}: Inngest takes messages of {MAX_PAYLOAD:,} bytes.")
        self.messages: int = 0
        self._publish = publish
        self._interrupted = False
        self._adapter = adapter
        self._open, self._between, self._close = _JOINS[kind]
        # A part is not to wait for longer than `every`.
        self._delay = max(every - _LATENESS, 0.9 * every)
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._sending = False  # a request is under way
        self._closing = False
        self._sender: asyncio.Task[None] | None = None
        self._cancel_timer: Callable[[], object] = bool  # nothing to cancel yet
        self._due = asyncio.Event()  # what is pending shall be sent
        self._progress = asyncio.Event()  # something was taken, sent, or failed
        self._order = asyncio.Lock()
        self._error: Exception | None = None
        self._told = False

    async def send(self, part: B) -> None:
        """Add a part. Returns at once, unless as much as a message holds is waiting for a request under way.

        Raises:
            PublishError: The part is not of the topic's type, has no JSON form, or is too large. The batch goes on.
            PublishError: What was joined does not fit the topic's type, such as a longest text. The batch has ended.
            InngestError: An earlier request failed. The batch has ended, and what was pending is lost.
            RealtimeError: The batch was not entered, or it has been left.
        """
        content = encode_payload(part, self._adapter)[1:-1]
        if not content:
            self._check()
            return
        async with self._order:
            while self._parts and self._size_with(content) > self._max_bytes:
                await self._next_progress()
            self._check()
            if not self._parts:
                self._cancel_timer = call_after(running_event_loop(), self._delay, self._due.set)
            self._size = self._size_with(content)
            self._parts.append(content)
            if self._size >= self._max_bytes:
                self._due.set()

    async def flush(self) -> None:
        """Publish what is pending now. Returns when all that was sent so far has been published.

        Raises:
            InngestError: As `send()`.
        """
        async with self._order:
            self._check()
            while self._parts or self._sending:
                await self._next_progress()

    async def __aenter__(self) -> Self:
        if self._sender is not None:
            raise RealtimeError("A batch can be entered once. Make another one with batch().")
        running_event_loop()
        self._sender = create_task(self._send_all(), name="inngest-realtime batch")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._sender is not None
        self._closing = True
        self._due.set()
        try:
            # A cancelled scope of anyio cancels every await in it, and so would the last parts.
            with anyio.CancelScope(shield=True):
                await self._sender
        except asyncio.CancelledError:
            if self._interrupted:
                logger.warning(
                    "The last parts of a batch were not published: its block was cancelled while they were sent. "
                    "Where they matter, publish them from code that is not cancelled.",
                    extra={"event": "batch.unpublished"},
                )
            raise
        finally:
            self._cancel_timer()
        if self._error is None or self._told:
            return
        if exc is None:
            raise self._error
        logger.warning(
            "The last parts of a batch were not published, and its block failed, too: %s",
            self._error,
            extra={"event": "batch.unpublished"},
        )

    async def _send_all(self) -> None:
        try:
            while self._parts or not self._closing:
                await self._due.wait()
                self._due.clear()
                if self._parts:
                    self._sending = True
                    await self._publish(self._take())
                    self.messages += 1
                    self._sending = False
                    self._progress.set()
        except asyncio.CancelledError:
            self._interrupted = self._sending or bool(self._parts)
            raise
        except Exception as error:
            # Nobody awaits this task: the next `send()`, or the end of the block, raises it.
            self._error = error
        finally:
            self._sending = False
            self._closing = True
            self._progress.set()

    def _take(self) -> str | list[Any]:
        content = self._open + self._between.join(self._parts) + self._close
        joined = len(self._parts) > 1
        self._parts.clear()
        self._size = 0
        self._cancel_timer()
        self._progress.set()
        data: str | list[Any] = json.loads(content)
        if joined and isinstance(data, list):
            self._check_list(content)
        return data

    def _check_list(self, content: bytes) -> None:
        """The elements have been validated by `send()`, and what is made of them all may not fit: a longest list."""
        assert self._adapter is not None
        try:
            self._adapter.validate_json(content)
        except ValidationError as error:
            reasons = [item["msg"] for item in error.errors(include_url=False, include_input=False) if not item["loc"]]
            if reasons:
                raise PublishError(
                    f"The joined parts of a batch do not fit the topic's type: {'; '.join(reasons)}."
                ) from error

    def _size_with(self, content: bytes) -> int:
        return self._size + len(content) + (len(self._between) if self._parts else 2)

    async def _next_progress(self) -> None:
        """Request that what is pending is sent. Returns when the sender has made progress."""
        self._check()
        self._progress.clear()
        self._due.set()
        await self._progress.wait()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            self._told = True
            raise self._error
        if self._sender is None or self._closing:
            raise RealtimeError("The batch is not open. Send within `async with realtime.batch(...) as batch:`.")


class SyncBatch(Generic[B]):
    """The sync twin of `Batch`: `with realtime.batch_sync(...) as batch: batch.send(...)`."""

    def __init__(self, batch: Batch[B]) -> None:
        self._batch = batch

    @property
    def messages(self) -> int:
        """How many messages it has published."""
        return self._batch.messages

    def send(self, part: B) -> None:
        """Add a part; see `Batch.send`. It blocks while as much as a message holds is waiting."""
        run_sync(lambda: self._batch.send(part))

    def flush(self) -> None:
        """Publish what is pending now; see `Batch.flush`. It blocks."""
        run_sync(self._batch.flush)

    def __enter__(self) -> Self:
        run_sync(self._batch.__aenter__)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run_sync(lambda: self._batch.__aexit__(exc_type, exc, traceback))


def _kind(adapter: TypeAdapter[Any] | None) -> str | None:
    """How parts of data of this type are joined: as a "str", as a "list", or not at all."""
    schema: Any = {} if adapter is None else adapter.core_schema
    while schema.get("type") in _WRAPPERS and "serialization" not in schema:
        schema = schema["schema"]
    if "serialization" in schema:
        # Its JSON is what a function makes of it, which may be anything.
        return None
    kind = schema.get("type")
    return kind if kind in _JOINS else None
