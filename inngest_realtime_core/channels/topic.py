"""Topics: what a channel carries, each with the type of its data."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Generic, TypeGuard, TypeVar, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from ..arguments import check_flag, describe
from ..errors import ConfigurationError, TopicError
from ..messages.message import Message, carries

T = TypeVar("T")

# Messages of these kinds carry data of the topic's type; a gap or a part of a data stream does not.
TYPED_KINDS = frozenset({"data", "run"})


def check_topic_name(name: object) -> str:
    """Return `name` when it can be a topic's name: a non-empty, printable `str`. Else `TopicError`."""
    if not isinstance(name, str):
        raise TopicError(f"A topic is a str, a Topic or a TopicRef, not {type(name).__name__}.")
    if not name:
        raise TopicError("The topic's name is empty. Give it at least one character.", topic=name)
    if not name.isprintable():
        raise TopicError(f"The topic's name {name!r} contains characters that are not printable.", topic=name)
    return name


class TopicDeclaration(Generic[T]):
    """The name of a topic and the type of its data.

    Attributes:
        type: The declared type of the data; `Any` when it is not validated.
        exclude_none: Whether fields that are None are left out of what is sent.
    """

    def __init__(self, type: Any = Any, *, name: str | None = None, exclude_none: bool = False) -> None:
        if isinstance(type, str):
            raise ConfigurationError(
                f"topic({type!r}): give the type itself, not its name in quotes. For another name on the wire write "
                f"topic(..., name={type!r})."
            )
        if _is_value(type):
            kind = type.__class__.__name__
            raise ConfigurationError(
                f"topic() got a {kind}, which is a value and not a type. Give the type of the data: topic({kind}), a "
                "model class, or topic(Any)."
            )
        if name is not None:
            try:
                check_topic_name(name)
            except TopicError as error:
                raise ConfigurationError(f"name= of a topic() is wrong: {error}") from None
        if exclude_none and type is Any:
            raise ConfigurationError(
                "topic(exclude_none=True) has no type, so it is not known what the fields are. Give one: topic(Model, "
                "exclude_none=True)."
            )
        self.type: Any = type
        self.exclude_none: bool = check_flag("exclude_none of a topic", exclude_none)
        self._name = name
        self._adapter: TypeAdapter[T] | None = None

    def __set_name__(self, owner: type[Any], attribute: str) -> None:
        if self._name is None:
            self._name = attribute

    @property
    def name(self) -> str:
        """The name on the wire: that of the attribute, or what `topic(name=...)` says."""
        if self._name is None:
            raise ConfigurationError("This topic has no name yet: declare it in the body of a Channel class.")
        return self._name

    @property
    def adapter(self) -> TypeAdapter[T] | None:
        """What validates and serialises the data, built at its first use; None when the type is `Any`."""
        if self.type is Any:
            return None
        if self._adapter is None:
            try:
                adapter: TypeAdapter[T] = TypeAdapter(self.type)
                # Looking at the validator makes pydantic say now, rather than at the first message, what is missing.
                _ = adapter.validator.title
                if self.exclude_none:
                    from .without_none import exclude_none  # few topics need it

                    exclude_none(adapter, topic=self.name)
                self._adapter = adapter
            except PydanticUserError as error:
                raise ConfigurationError(
                    f"pydantic cannot use the type of topic {self.name!r}: {error.message}. Declare a type that "
                    "pydantic can validate and whose names are all defined, or topic(Any)."
                ) from error
        return self._adapter

    def matches(self, message: Message[Any]) -> TypeGuard[Message[T]]:
        """Whether `message` carries data of this topic, of whatever channel.

        Its data has the declared type unless the subscription was opened with `validate=False`. A subscription to a
        plain name knows the types of the topics that were given as objects, and of no others: those never match.
        """
        given = cast("object", message)
        if not isinstance(given, Message):
            raise TopicError(f"matches() takes a Message, and got {describe(given)}.", topic=self._name)
        if message.topic != self._name or message.kind not in TYPED_KINDS:
            return False
        return carries(message, self.adapter)

    def __repr__(self) -> str:
        return f"<Topic {self._name!r}: {getattr(self.type, '__name__', self.type)}>"


def _is_value(given: Any) -> bool:
    """Whether something is plainly a value where a type is expected: `{"a": 1}`, `[str]`, an instance of a model."""
    if isinstance(given, type) or typing.get_origin(given) is not None:
        return False
    plain = (bool, int, float, bytes, dict, list, tuple, set, frozenset, types.FunctionType, BaseModel)
    return isinstance(given, plain) or dataclasses.is_dataclass(given)
