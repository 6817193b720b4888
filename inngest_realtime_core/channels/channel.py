"""Typed channels: one declaration that publishing, subscribing, tokens, endpoints and the type checker share.

class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)

Pipeline(run_id="abc").name == "pipeline:abc"
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NoReturn, TypeGuard, TypeVar, cast, overload

from pydantic import TypeAdapter
from typing_extensions import Self, TypeForm, dataclass_transform

from ..arguments import describe
from ..errors import ChannelError, ConfigurationError
from ..messages.message import Message
from .declaration import Declaration, declare
from .parameter import Parameter, bare_types
from .template import NameTemplate, check_channel_name
from .topic import TopicDeclaration

T = TypeVar("T")


class Topic(TopicDeclaration[T]):
    """A topic as declared in the body of a `Channel`: `status = topic(Status)`.

    Read from the class it is this object; read from a channel (`ch.status`) it is the `TopicRef` of that channel.

    Attributes:
        type: The declared type of the data; `Any` when it is not validated.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: Channel, owner: type[Any]) -> TopicRef[T]: ...
    def __get__(self, instance: Channel | None, owner: type[Any]) -> Self | TopicRef[T]:
        return self if instance is None else TopicRef(instance, self)


class TopicRef(Generic[T]):
    """One topic of one channel, `Pipeline(run_id="abc").status`: where to publish, what to compare messages with.

    Attributes:
        channel: The channel.
        topic: The topic as its class declares it.
    """

    def __init__(self, channel: Channel, topic: Topic[T]) -> None:
        self.channel: Channel = channel
        self.topic: Topic[T] = topic

    @property
    def name(self) -> str:
        """The topic's name on the wire."""
        return self.topic.name

    @property
    def type(self) -> Any:
        """The declared type of the data."""
        return self.topic.type

    @property
    def adapter(self) -> TypeAdapter[T] | None:
        """What validates and serialises the data; None when it is not validated."""
        return self.topic.adapter

    def matches(self, message: Message[Any]) -> TypeGuard[Message[T]]:
        """Whether `message` carries data of this topic of this channel. See `Topic.matches`."""
        return self.topic.matches(message) and message.channel == self.channel.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TopicRef):
            return NotImplemented
        ref = cast("Any", other)
        return bool(self.topic is ref.topic and self.channel == ref.channel)

    def __hash__(self) -> int:
        return hash((self.channel, self.name))

    def __repr__(self) -> str:
        return f"<TopicRef {self.name!r} of {self.channel!r}>"


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Channel:
    """The base of channel classes. Annotated attributes are the parameters of the name, `topic(...)` declares topics.

    `separators=` names the characters that no value may contain, where it is not all of them: for names that somebody
    else has made up, such as `class Upload(Channel, name="upload-{file}", separators="")`.

    A class without `name=`, own or inherited, is a mixin: it may only hold topics and methods. The constructor takes
    every parameter by keyword and raises `ChannelError` for a value that is of the wrong type, empty, not printable, or
    contains a separator of the name: any character of the template's literal text other than letters, digits and `_`.
    Channels are immutable, hashable, and equal when their class and parameters are.
    """

    _declaration: ClassVar[Declaration] = Declaration(None, MappingProxyType({}), MappingProxyType({}))
    __signature__: ClassVar[inspect.Signature]
    _name: ClassVar[str]  # set on each instance; declared so that no parameter takes its place

    def __init_subclass__(cls, *, name: str | None = None, separators: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        local_names = sys._getframe(1).f_locals  # pyright: ignore[reportPrivateUsage] - documented, despite its name
        cls._declaration = declare(cls, Channel, name, separators, cls._declaration.template, local_names)
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=parameter.declared_annotation)
            for name, parameter in cls.parameters().items()
        ]
        cls.__signature__ = inspect.Signature(keywords)

    def __init__(self, *args: Any, **values: Any) -> None:
        template = template_of(type(self))
        if args:
            written = ", ".join(f"{name}=..." for name in self.parameters())
            raise ChannelError(
                f"The parameters of {type(self).__name__} are given by name. Write {type(self).__name__}({written})."
            )
        _check_names(type(self), values)
        checked = {name: parameter.check(values[name]) for name, parameter in self.parameters().items()}
        self.__dict__.update(checked, _name=template.fill(checked))

    @property
    def name(self) -> str:
        """The channel's name on the wire."""
        return cast("str", self.__dict__["_name"])

    @classmethod
    def topics(cls) -> Mapping[str, Topic[Any]]:
        """The declared topics by their name on the wire, in order of declaration."""
        return cast("Mapping[str, Topic[Any]]", cls._declaration.topics)

    @classmethod
    def parameters(cls) -> Mapping[str, Parameter]:
        """The parameters of the name by their name in Python, in order of declaration."""
        return cls._declaration.parameters

    @classmethod
    def from_strings(cls, values: Mapping[str, str]) -> Self:
        """Build the channel from text, as query parameters or JSON strings give it.

        Each value is parsed by its annotation (`"7"` for an `int`). `ChannelError` for a name that is not a
        parameter, one that is missing, and a value that does not parse or that the constructor would refuse.
        """
        given = cast("object", values)
        if not isinstance(given, Mapping):
            raise ChannelError(f"The values are {describe(given)}: expected a dict of parameters and their texts.")
        _check_names(cls, values)
        return cls._made_of({name: parameter.parse(values[name]) for name, parameter in cls.parameters().items()})

    @classmethod
    def from_name(cls, name: str) -> Self:
        """The channel that has this name on the wire, `Pipeline.from_name("pipeline:abc")`.

        Where values of several types are written alike, such as `1` and `"1"` of an `int | str`, it has the one that
        `from_strings` gives.

        Raises:
            ChannelError: No channel of this class has that name.
        """
        template = template_of(cls)
        types = {name: bare_types(parameter.annotation) for name, parameter in cls.parameters().items()}
        texts = template.split(check_channel_name(name), types)
        if texts is None:
            raise ChannelError(
                f"{name!r} is not the name of a {cls.__name__}: its channels are named {template.text!r}."
            )
        try:
            values = {key: parameter.read(texts[key], template.writes) for key, parameter in cls.parameters().items()}
            channel = cls._made_of(values)
        except ChannelError as error:
            raise ChannelError(f"{name!r} is not the name of a {cls.__name__}: {error}") from None
        return channel

    @classmethod
    def _made_of(cls, values: Mapping[str, Any]) -> Self:
        """The channel of values that have been checked."""
        channel = cls.__new__(cls)
        channel.__dict__.update(values, _name=template_of(cls).fill(values))
        return channel

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"A channel cannot be changed; make a new {type(self).__name__} instead.")

    def __delattr__(self, attribute: str) -> NoReturn:
        raise FrozenInstanceError(f"A channel cannot be changed; make a new {type(self).__name__} instead.")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._declaration.parameters)
        return f"{type(self).__name__}({arguments})"


def is_mixin(cls: type[Channel]) -> bool:
    """Whether a class has no name, own or inherited."""
    return cls._declaration.template is None  # pyright: ignore[reportPrivateUsage] - of this file


def template_of(cls: type[Channel]) -> NameTemplate:
    """The template of a class's names. `ConfigurationError` when it has none."""
    template = cls._declaration.template  # pyright: ignore[reportPrivateUsage] - of this file
    if template is None:
        raise ConfigurationError(f'{cls.__qualname__} has no name: declare class {cls.__name__}(Channel, name="...").')
    return template


def _check_names(cls: type[Channel], values: Mapping[str, object]) -> None:
    parameters = cls.parameters()
    for name in values:
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise ChannelError(f"{cls.__name__} has no parameter {name!r}; it has: {known}.", parameter=name)
    for name in parameters:
        if name not in values:
            raise ChannelError(f"{name} is missing; {cls.__name__} needs {', '.join(parameters)}.", parameter=name)


@overload
def topic(type: TypeForm[T], /, *, name: str | None = None, exclude_none: bool = False) -> Topic[T]: ...
@overload
def topic(*, name: str | None = None) -> Topic[Any]: ...
def topic(type: Any = Any, /, *, name: str | None = None, exclude_none: bool = False) -> Topic[Any]:
    """Declare a topic in the body of a `Channel`.

    Args:
        type: Any type that pydantic can validate. `Any`, the default, means that data is passed on unvalidated.
        name: The name on the wire, when it is not the attribute's.
        exclude_none: Leaves fields that are None out of what is published and streamed, instead of sending null. Each
            field that may be None has to be None by default, so that subscribers read back what was published.
    """
    return Topic(type, name=name, exclude_none=exclude_none)
