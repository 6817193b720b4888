"""What web clients may subscribe to, and who may: one declaration that every framework's adapter serves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

from ..arguments import Rewind, check_callable, check_flag, check_interval, check_rewind, check_text, describe
from ..channels.channel import Channel, Topic
from ..channels.template import check_channel_name
from ..channels.topic import check_topic_name
from ..errors import ConfigurationError
from ..subscriptions.fragments import Render, check_names

_C = TypeVar("_C")

Authorize = Callable[[Any, _C], bool | Awaitable[bool]]
"""`authorize(request, channel)`: the framework's own request and the channel asked for; only `True` allows."""

_ADVICE = (
    "pass authorize=, a function (request, channel) -> bool, sync or async, of which only True allows; "
    "or authorize=allow_anyone when everyone may listen"
)
_URL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

RESERVED_PARAMETERS = frozenset({"topics", "lastEventId", "last_event_id", "rewind", "full", "format"})


def allow_anyone(request: object, channel: object) -> Literal[True]:
    """The visible opt-out: whoever can reach the endpoint may subscribe."""
    return True


class _AuthorizeMissingError(ConfigurationError, TypeError):
    """As Python's own for an argument that is missing."""


class Grant:
    """Lets web clients subscribe to one kind of channel, after `authorize` has said yes.

    Args:
        channel: A `Channel` class, or the name of a channel without parameters.
        topics: The topics that clients may have, as names or `Topic` objects. `None` grants all that the class
            declares; a plain name declares none, so there they must be listed.
        authorize: Called as `authorize(request, channel)` before anything is minted or opened, with the framework's
            request object and the channel (an instance of the class, or the plain name). Sync or async. Only the
            value `True` allows: a forgotten `return` denies. It may raise the framework's own HTTP exception; any
            other exception is a server error and allows nothing.
        name: The grant's name in URLs. By default the class's name in kebab case: `ChatThread` -> `chat-thread`.
        reauthorize_every: Seconds after which an open stream asks `authorize` again; anything but `True` ends the
            stream. `None` asks only when it opens.
        heartbeat: Seconds between heartbeats of a stream of this grant; `None` takes the endpoints' own.
        extra_parameters: Names of query parameters that are not the channel's, for `authorize` to read from the
            request (`access_token`, say, because an `EventSource` cannot send headers). All others are refused.
        rewind: The most messages of each topic that a client may ask for with `?rewind=`: a number, `"all"`, or None,
            which answers 403.
        rewind_default: What a client gets that does not ask.
        render: Makes HTML of a message, or None for none: the stream then carries `event: <topic>` with HTML (htmx).
        token: `"full"` adds `channel` and `topics` to the JSON of tokens; so does `?full=true`.
        may_overlap: Whether another grant's channels may have the same names as this one's. Who may have such a
            channel by either grant gets it.

    Raises:
        ConfigurationError: The declaration is wrong: no `authorize`, an undeclared topic, a name unfit for a URL.
        ChannelError: The plain name cannot be a channel's.
        TopicError: A topic's name cannot be one.
    """

    def __new__(cls, *args: object, **kwargs: object) -> Grant:
        # The signature of __init__ already requires it; this is the same error with advice. Copying passes nothing.
        if args and "authorize" not in kwargs:
            raise _AuthorizeMissingError(f"A Grant does not say who may subscribe: {_ADVICE}.")
        return super().__new__(cls)

    def __init__(  # pyright: ignore[reportInconsistentConstructor] - __new__ says what is missing
        self,
        channel: type[_C] | str,
        topics: Sequence[str | Topic[Any]] | None = None,
        *,
        authorize: Authorize[_C],
        name: str | None = None,
        reauthorize_every: float | None = None,
        heartbeat: float | None = None,
        extra_parameters: Sequence[str] = (),
        rewind: Rewind | None = None,
        rewind_default: Rewind | None = None,
        render: Render | None = None,
        token: Literal["full"] | None = None,
        may_overlap: bool = False,
    ) -> None:
        if not callable(authorize):
            raise ConfigurationError(
                f"The authorize of a Grant is {type(authorize).__name__}, which cannot be called: {_ADVICE}."
            )
        self.channel: type[Channel] | str = _checked_channel(channel)
        self.authorize: Authorize[Any] = authorize
        self.name: str = _checked_name(self.channel, name)
        self.topics: tuple[str, ...] = _checked_topics(self.channel, topics, grant=self.name)
        of_grant = f"of grant {self.name!r}"
        self.reauthorize_every: float | None = check_interval(
            f"reauthorize_every {of_grant}", reauthorize_every, optional=True
        )
        self.heartbeat: float | None = check_interval(f"heartbeat {of_grant}", heartbeat, optional=True)
        self.extra_parameters: frozenset[str] = frozenset(
            _checked_texts(extra_parameters, "extra_parameters", grant=self.name)
        )
        self.rewind: Rewind | None = check_rewind(f"rewind {of_grant}", rewind)
        self.rewind_default: Rewind | None = check_rewind(f"rewind_default {of_grant}", rewind_default)
        if self.rewind != "all" and _more(self.rewind_default, self.rewind):
            raise ConfigurationError(
                f"Grant {self.name!r} sends rewind_default={rewind_default!r} unasked and allows rewind={rewind!r}: "
                "allow at least as much."
            )
        if render is not None:
            check_names(self.topics)
        self.render: Render | None = check_callable(
            f"render {of_grant}", render, "def render(message): ... -> str | None", awaited=False
        )
        if token not in (None, "full"):
            raise ConfigurationError(f'token {of_grant} is {describe(token)}: expected "full" or None.')
        self.token: Literal["full"] | None = token
        self.may_overlap: bool = check_flag(f"may_overlap {of_grant}", may_overlap)
        self.spellings: Mapping[str, str] = MappingProxyType(_spellings(self.channel, grant=self.name))
        """Each accepted spelling of a channel parameter (`runId`, `run_id`) -> its name in Python (`run_id`)."""

    # Not that of `__new__`, for help() and editors.
    __signature__: inspect.Signature = inspect.Signature([*inspect.signature(__init__).parameters.values()][1:])

    def __repr__(self) -> str:
        channel = self.channel if isinstance(self.channel, str) else self.channel.__name__
        return f"Grant({channel}, topics={list(self.topics)}, name={self.name!r})"


def camel_case(name: str) -> str:
    """`run_id` -> `runId`: how JSON and query parameters spell a Python name."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def kebab_case(name: str) -> str:
    """`ChatThread` -> `chat-thread`: how URLs spell a class's name."""
    return _WORD_BOUNDARY.sub("-", name).replace("_", "-").lower()


def _checked_channel(channel: object) -> type[Channel] | str:
    given = describe(channel)
    if isinstance(channel, type) and issubclass(channel, Channel):
        return channel
    if isinstance(channel, str):
        return check_channel_name(channel)
    raise ConfigurationError(
        f"A Grant takes a Channel class or a channel's name, and got {given}. "
        "Pass the class itself, not an instance: its parameters come from each request."
    )


def _checked_name(channel: type[Channel] | str, name: str | None) -> str:
    found = name if name is not None else channel if isinstance(channel, str) else kebab_case(channel.__name__)
    check_text("name of a Grant", found)
    if not _URL_NAME.fullmatch(found):
        raise ConfigurationError(
            f"{found!r} cannot be a grant's name in a URL: use letters, digits, '-', '_' and '.', "
            "and pass name= when the channel's own name has other characters."
        )
    return found


def _checked_topics(
    channel: type[Channel] | str, topics: Sequence[str | Topic[Any]] | None, *, grant: str
) -> tuple[str, ...]:
    declared = None if isinstance(channel, str) else channel.topics()
    if topics is None:
        topics = list(declared or ())
    if isinstance(topics, str | Topic):
        raise ConfigurationError(f"The topics of grant {grant!r} are a single one: put it into a list.")
    given = cast("object", topics)
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"The topics of grant {grant!r} are {describe(given)}: expected a list of topics.")
    names: dict[str, None] = {}
    for item in topics:
        name = check_topic_name(item.name if isinstance(item, Topic) else item)
        if declared is not None and (name not in declared or (isinstance(item, Topic) and item is not declared[name])):
            raise ConfigurationError(
                f"Grant {grant!r} names the topic {name!r}, which its channel does not declare. "
                f"Declared: {', '.join(declared) or 'none'}."
            )
        names[name] = None
    if not names:
        raise ConfigurationError(f"Grant {grant!r} has no topics, so nothing would ever arrive: pass topics=[...].")
    return tuple(names)


def _checked_texts(values: Sequence[str], option: str, *, grant: str) -> list[str]:
    given: Any = values
    if not isinstance(given, str) and hasattr(given, "__iter__"):
        texts: list[Any] = list(given)
        if all(isinstance(text, str) for text in texts):
            return texts
    raise ConfigurationError(f"{option} of grant {grant!r} is {describe(values)}: expected a list of names.")


def _more(one: Rewind | None, other: int | None) -> bool:
    return one is not None and (one == "all" or other is None or one > other)


def _spellings(channel: type[Channel] | str, *, grant: str) -> dict[str, str]:
    spellings: dict[str, str] = {}
    for name in () if isinstance(channel, str) else channel.parameters():
        for spelling in (name, camel_case(name)):
            if spelling in RESERVED_PARAMETERS or spellings.setdefault(spelling, name) != name:
                raise ConfigurationError(
                    f"The channel of grant {grant!r} has a parameter that requests spell {spelling!r}, which already "
                    "means something else there: rename the parameter."
                )
    return spellings
