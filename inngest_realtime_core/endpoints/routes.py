"""What the helpers for routes of one's own share: they hand a token, or an open subscription, to a view."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from ..arguments import describe
from ..errors import ConfigurationError
from ..subscriptions.pending import PendingSubscription
from ..subscriptions.streams import MessageStream, SyncMessageStream
from ..subscriptions.subscription import Subscription
from ..subscriptions.sync import SyncSubscription
from .grants import Grant


def is_async(function: object) -> bool:
    """Whether calling it gives an awaitable, as far as can be told without calling it."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[object]", function).func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )


class Held:
    """A token, or a subscription, that a view is given. Error reports show local variables, and all of a mapping."""

    def __init__(self, value: object) -> None:
        self.value: object = value


def hand_over(
    view: Callable[..., Any], name: str, *, after: Callable[[object], bool] | None = None
) -> Callable[..., Any]:
    """A function that calls the view with one more argument, which it is given first, best as `Held`.

    A view that has a parameter of that name gets it so, wherever it stands. Any other gets it as its first argument, or
    as the one behind the request, of which `after` is true.
    """
    try:
        parameters = inspect.signature(view).parameters.values()
    except (TypeError, ValueError):  # not callable, or a built-in of C
        raise ConfigurationError(
            f"The decorator was given {describe(view)}: expected a view. Write the decorator above `def view(...):`."
        ) from None
    by_name = any(parameter.kind is parameter.VAR_KEYWORD or parameter.name == name for parameter in parameters)
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    own_place = positional.index(name) if name in positional else None

    def call(held: Held, /, *args: Any, **kwargs: Any) -> Any:
        place = own_place
        if place is None or place > len(args):
            if by_name:
                return view(*args, **kwargs, **{name: held.value})
            place = 0 if after is None else 1 + next((n for n, arg in enumerate(args) if after(arg)), -1)
        return view(*args[:place], held.value, *args[place:], **kwargs)

    def handed(value: object, /, *args: Any, **kwargs: Any) -> Any:
        held = value if isinstance(value, Held) else Held(value)
        del value
        with _closed_on_error(held):
            return call(held, *args, **kwargs)

    async def handed_async(value: object, /, *args: Any, **kwargs: Any) -> Any:
        held = value if isinstance(value, Held) else Held(value)
        del value
        with _closed_on_error(held):
            return await call(held, *args, **kwargs)

    return handed_async if is_async(view) else handed


def request_of(is_request: Callable[[object], bool], *arguments: object) -> Any:
    """The first of a view's arguments that is a request: a method has `self` before it.

    Raises:
        ConfigurationError: None of them is.
    """
    for argument in arguments:
        if is_request(argument):
            return argument
    raise ConfigurationError("The decorated function is not a view: it was called without a request.")


@contextmanager
def _closed_on_error(held: Held) -> Generator[None, None, None]:
    """Closes a subscription that a view did not come to use: the error may hold the view's variables for long."""
    try:
        yield
    except BaseException:
        if isinstance(held.value, Subscription | SyncSubscription):
            held.value.close("the view failed")
        raise


def gives_messages(stream: object) -> bool:
    """Whether it is an iterator of messages: of a subscription itself, or its `get_json_stream()`."""
    return isinstance(stream, MessageStream | SyncMessageStream)


def not_a_stream(content: object, instead: str) -> ConfigurationError:
    """The error of a response that is given something else than a stream.

    Args:
        instead: What to write.
    """
    what, advice = describe(content), "or an encoded stream of one (get_event_stream())"
    if isinstance(content, PendingSubscription):
        content.close()  # nobody will await it: that is told here
        what = "a subscription that was not awaited"
    elif isinstance(content, SyncSubscription):
        what = "a subscription of subscribe_sync()"
    elif isinstance(content, Subscription):
        what = "a subscription of subscribe()"
    elif gives_messages(content):
        what, advice = "a stream of messages (get_json_stream())", "or its get_event_stream(), which gives bytes"
    elif isinstance(content, AsyncGenerator | Generator):
        what = f"{'an async' if isinstance(content, AsyncGenerator) else 'a sync'} generator"
    return ConfigurationError(f"The response was given {what}, which it cannot stream. Give it `{instead}`, {advice}.")


def check_own_stream(grant: Grant) -> None:
    """Raises `ConfigurationError` when the grant asks for what a stream of a route of one's own does not have."""
    if not isinstance(cast("object", grant), Grant):
        raise ConfigurationError(f"The grant is {describe(grant)}: expected a Grant, such as Grant(Pipeline, ...).")
    if grant.reauthorize_every is not None:
        raise ConfigurationError(
            f"Grant {grant.name!r} has reauthorize_every, which subscription_stream cannot honour: the stream is the "
            "route's own. Serve the grant with the ready-made endpoints, or make one without reauthorize_every for "
            "this route."
        )
