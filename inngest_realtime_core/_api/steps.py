"""Publishing as a step of an Inngest function: once, however often the function is run again.

Inngest calls a function again for each of its steps and attempts, and gives back what steps returned before. A step
that published and then failed to report is run again, too, so its message has an id that depends on the run, the
step's id and how often that id came before. `inngest` is not imported: whoever has a context has imported it.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from ..arguments import describe, is_encodable
from ..channels.resolve import Target, resolve_target
from ..errors import ChannelError, ConfigurationError, PublishError, TopicError
from .ids import MAX_ID, usable_run_id
from .payload import encode_payload
from .publishing import publish_query

R = TypeVar("R")


def is_mistake(error: BaseException) -> bool:
    """Whether this, or all of a group of errors, is still wrong when it is tried again."""
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, tuple) and parts:
        return all(is_mistake(part) for part in cast("tuple[BaseException, ...]", parts))
    return isinstance(error, (PublishError, ChannelError, TopicError, ConfigurationError))


class _StepTools(Protocol[R]):
    def run(self, step_id: str, handler: Callable[[], R], /) -> R: ...


class StepContext(Protocol[R]):
    """What is used of an `inngest.Context`, whose steps return awaitables, or of an `inngest.ContextSync`."""

    run_id: str

    @property
    def step(self) -> _StepTools[R]: ...


@contextmanager
def no_retry() -> Generator[None]:
    """Turn what no further attempt would change into `inngest.NonRetriableError`."""
    try:
        yield
    except Exception as error:
        # Whatever it is: those that are mistakes end the run, all others are raised as they are.
        inngest = sys.modules.get("inngest")
        if inngest is None or not is_mistake(error):
            raise
        raise inngest.NonRetriableError(f"{type(error).__name__}: {error}") from error


class PublishStep:
    """One call of `publish_step`.

    Attributes:
        target: Where its output is published as it is: validated and encoded once, it is what the step returns.
        options: What is published with it: the run's id, unless it is none that Inngest would take; the metadata; and
            the message's id, which is equal for each attempt of this step of this run, or None without a run.
    """

    def __init__(
        self,
        ctx: StepContext[Any],
        step_id: object,
        topic: Target,
        data: object,
        metadata: Mapping[str, Any] | None,
        *,
        asynchronous: bool,
    ) -> None:
        self._data = data
        with no_retry():
            step = _step_tools(ctx, asynchronous=asynchronous)
            step_id = _checked_step_id(step_id)
            resolved = resolve_target(topic)
            self._adapter = resolved.adapter
            self.target = (resolved.channel, resolved.topic)
            run_id = usable_run_id(ctx.run_id)
            # Each execution has a step object of its own.
            calls: Counter[str] = vars(step).setdefault("_inngest_realtime_calls", Counter())
            message_id = None if run_id is None else _message_id(run_id, calls[step_id], step_id)
            calls[step_id] += 1
            self.options: dict[str, Any] = {"run_id": run_id, "metadata": metadata, "id": message_id}
            publish_query(*self.target, run_id=run_id, metadata=metadata, id=message_id)

    def output(self) -> Any:
        """What the step returns to Inngest: the JSON form of the data."""
        return json.loads(encode_payload(self._data, self._adapter))

    def result(self, output: object) -> Any:
        """What the caller gets for the step's output."""
        if self._adapter is None:
            return output
        try:
            return _read(self._adapter, output)
        except ValidationError:
            pass
        with no_retry():
            own = self.output()
            if own != output and not self._is_read_back(self._adapter, own):
                return output
            # The type reads nothing of what it writes, or has changed since that was published.
            return self._adapter.validate_python(self._data)

    @staticmethod
    def _is_read_back(adapter: TypeAdapter[Any], output: object) -> bool:
        try:
            _read(adapter, output)
        except ValidationError:
            return False
        return True


def _read(adapter: TypeAdapter[Any], output: object) -> Any:
    try:
        text = json.dumps(output)
    except (TypeError, ValueError):  # not what a step returns: a test's stub for it
        return adapter.validate_python(output)
    return adapter.validate_json(text)


def _step_tools(ctx: object, *, asynchronous: bool) -> object:
    step = getattr(ctx, "step", None)
    run = getattr(step, "run", None)
    if run is None or inspect.iscoroutinefunction(run) is not asynchronous:
        raise ConfigurationError(
            f"ctx is {type(ctx).__name__}. Async functions use `await publish_step(ctx, ...)` with their "
            "inngest.Context, other functions publish_step_sync(ctx, ...) with their inngest.ContextSync."
        )
    return cast("object", step)


def _checked_step_id(id: object) -> str:
    if not isinstance(id, str) or not id:
        raise PublishError(f"id is {describe(id)}: expected the step's id, a str of at least one character.")
    if not is_encodable(id):
        raise PublishError("The step's id contains a lone surrogate, which UTF-8 cannot carry.")
    return id


def _message_id(run_id: str, ordinal: int, step_id: str) -> str:
    if len(id := f"{run_id}.{ordinal}.{step_id}") <= MAX_ID:
        return id
    return f"{run_id}.{ordinal}.{blake2b(step_id.encode(), digest_size=16).hexdigest()}"
