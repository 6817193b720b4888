"""Typed channels: one declaration that publishing, subscribing, tokens, endpoints and the type checker share.

class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)

Pipeline(run_id="abc").name == "pipeline:abc"
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NoReturn, cast

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import Self, dataclass_transform

from .errors import ChannelError, ConfigurationError, TopicError
from .templates import NameTemplate, check_channel_name
from .topics import Topic, TopicRef, check_topic_name, topic

__all__ = [
    "Channel",
    "Parameter",
    "ResolvedChannel",
    "Topic",
    "TopicRef",
    "adapter_for",
    "resolve_channel",
    "resolve_topics",
    "topic",
]

_CLASS_VAR = re.compile(r"\s*(\w+\s*\.\s*)?ClassVar\b")


class Parameter:
    """One parameter of a channel's name. Every parameter is required.

    Attributes:
        name: The attribute's name, in snake case.
    """

    def __init__(self, name: str, annotation: Any, owner: type[Channel]) -> None:
        self.name = name
        self._annotation = annotation
        self._owner = owner
        self._adapter: TypeAdapter[Any] | None = None

    @property
    def annotation(self) -> Any:
        """The annotation as a type, `Annotated` metadata included."""
        if isinstance(self._annotation, str):
            try:
                self._annotation = _evaluate(self._annotation, self._owner, {})
            except Exception as error:  # evaluating an application's annotation may raise anything
                raise ConfigurationError(
                    f"{self._owner.__qualname__}.{self.name}: the annotation {self._annotation!r} cannot be resolved "
                    f"({error}). Import or define its names in the module of the class, outside `if TYPE_CHECKING`."
                ) from error
        return self._annotation

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """What validates the values, built at its first use."""
        if self._adapter is None:
            try:
                self._adapter = TypeAdapter(self.annotation)
            except PydanticUserError as error:
                raise ConfigurationError(
                    f"{self._owner.__qualname__}.{self.name}: pydantic cannot use this annotation: {error.message}"
                ) from error
        return self._adapter

    def check(self, value: object) -> Any:
        """Validate a Python value strictly: no conversions. `ChannelError` when it does not fit."""
        try:
            return self.adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise self._refusal(error) from None

    def parse(self, text: object) -> Any:
        """Validate text from the web, converting it to the annotated type. `ChannelError` when it does not fit."""
        if not isinstance(text, str):
            raise ChannelError(f"{self.name} must be a string, not {type(text).__name__}.", parameter=self.name)
        try:
            return self.adapter.validate_strings(text)
        except ValidationError as error:
            # pydantic takes no text for choices that are not text, such as the members of an IntEnum.
            for choice in _choices(self.annotation):
                if str(choice.value if isinstance(choice, Enum) else choice) == text:
                    return choice
            raise self._refusal(error) from None

    def _refusal(self, error: ValidationError) -> ChannelError:
        # Not str(error): it repeats the input, which may be long or private.
        reasons = "; ".join(dict.fromkeys(part["msg"] for part in error.errors(include_url=False)))
        return ChannelError(f"{self.name} is not acceptable: {reasons}.", parameter=self.name)

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self._annotation!r})"


class _Declaration(msgspec.Struct, frozen=True):
    """What a Channel class declares, its own and inherited."""

    template: NameTemplate | None
    parameters: Mapping[str, Parameter]
    topics: Mapping[str, Topic[Any]]  # by wire name


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Channel:
    """The base of channel classes. Annotated attributes are the parameters of the name, `topic(...)` declares topics.

    A class without `name=`, own or inherited, is a mixin: it may only hold topics and methods. The constructor takes
    every parameter by keyword and raises `ChannelError` for a value that is of the wrong type, empty, not printable, or
    contains a separator of the name: any character of the template's literal text other than letters, digits and `_`.
    Channels are immutable, hashable, and equal when their class and parameters are.
    """

    _declaration: ClassVar[_Declaration] = _Declaration(None, MappingProxyType({}), MappingProxyType({}))
    _name: ClassVar[str]  # set on each instance; declared so that no parameter takes its place

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declaration = _declare(cls, name, sys._getframe(1).f_locals)  # pyright: ignore[reportPrivateUsage]

    def __init__(self, **values: Any) -> None:
        template = _template_of(type(self))
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
        return cls._declaration.topics

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
        template = _template_of(cls)
        _check_names(cls, values)
        parsed = {name: parameter.parse(values[name]) for name, parameter in cls.parameters().items()}
        channel = cls.__new__(cls)
        channel.__dict__.update(parsed, _name=template.fill(parsed))
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


def _template_of(cls: type[Channel]) -> NameTemplate:
    template = cls._declaration.template  # pyright: ignore[reportPrivateUsage]
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


def _declare(cls: type[Channel], name: str | None, local_names: Mapping[str, Any]) -> _Declaration:
    """Read the class body and its bases. Types are not completed here: they may refer to what comes later."""
    owner = cls.__qualname__
    template = NameTemplate.parse(name, owner=owner) if name is not None else cls._declaration.template  # pyright: ignore[reportPrivateUsage]
    parameters = {**_inherited_parameters(cls), **_own_parameters(cls, local_names)}
    attributes = _topic_attributes(cls)
    if template is None and parameters:
        raise ConfigurationError(
            f'{owner} has parameters but no name. Declare class {cls.__name__}(Channel, name="...{{parameter}}...").'
        )
    if template is not None:
        _check_parameters(cls, template, parameters, attributes)
    topics: dict[str, Topic[Any]] = {}
    for attribute, declared in attributes.items():
        if hasattr(Channel, attribute):
            raise ConfigurationError(
                f"{owner}.{attribute}: this name is a channel's own. "
                f"Call the attribute otherwise and keep the name on the wire: topic(..., name={attribute!r})."
            )
        if declared.name in topics:
            raise ConfigurationError(f"{owner} declares the topic {declared.name!r} twice. Give one another name=.")
        topics[declared.name] = declared
    return _Declaration(template, MappingProxyType(parameters), MappingProxyType(topics))


def _inherited_parameters(cls: type[Channel]) -> dict[str, Parameter]:
    inherited: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__[1:]):
        if issubclass(base, Channel):
            inherited.update(base.parameters())
    return inherited


def _own_parameters(cls: type[Channel], local_names: Mapping[str, Any]) -> dict[str, Parameter]:
    own: dict[str, Parameter] = {}
    for name, annotation in inspect.get_annotations(cls).items():
        if isinstance(annotation, str):
            if _CLASS_VAR.match(annotation):
                continue
            try:
                annotation = _evaluate(annotation, cls, local_names)
            except Exception:
                pass  # perhaps defined further down in the module: evaluated, and complained about, at its first use
        if ClassVar in (annotation, typing.get_origin(annotation)):
            continue
        if isinstance(vars(cls).get(name), Topic):
            raise ConfigurationError(
                f"{cls.__qualname__}.{name}: a topic has no annotation, which would make it a parameter. "
                f"Write {name} = topic(...), or {name}: ClassVar[Topic[...]] = topic(...)."
            )
        if name in vars(cls):
            raise ConfigurationError(
                f"{cls.__qualname__}.{name} has a value. A channel's parameters have no defaults; "
                "for a constant write ClassVar[...]."
            )
        own[name] = Parameter(name, annotation, cls)
    return own


def _topic_attributes(cls: type[Channel]) -> dict[str, Topic[Any]]:
    attributes: dict[str, Topic[Any]] = {}
    for base in reversed(cls.__mro__):
        members: Mapping[str, Any] = vars(base)
        for attribute, value in members.items():
            if isinstance(value, Topic):
                attributes[attribute] = value
            else:
                attributes.pop(attribute, None)  # overridden by something else
    return attributes


def _check_parameters(
    cls: type[Channel],
    template: NameTemplate,
    parameters: Mapping[str, Parameter],
    topic_attributes: Mapping[str, Topic[Any]],
) -> None:
    owner = cls.__qualname__
    for placeholder in template.placeholders:
        if placeholder not in parameters:
            raise ConfigurationError(
                f"{owner}: the name {template.text!r} uses {{{placeholder}}}, which is not declared. "
                f"Add an annotated attribute, such as {placeholder}: str."
            )
    for name in parameters:
        if name not in template.placeholders:
            raise ConfigurationError(
                f"{owner}.{name} is not in the name {template.text!r}, so two channels could share a name. "
                f"Put {{{name}}} into the name, or annotate it as ClassVar[...]."
            )
        if name in topic_attributes:
            raise ConfigurationError(f"{owner}.{name} is both a parameter and a topic. Rename one of them.")
        if hasattr(cls, name):
            raise ConfigurationError(f"{owner}.{name}: the class has an attribute of this name. Rename the parameter.")


def _choices(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(annotation)
    return ()


def _evaluate(annotation: str, owner: type[Any], local_names: Mapping[str, Any]) -> Any:
    module = sys.modules.get(owner.__module__)
    return eval(annotation, dict(vars(module)) if module else {}, {**vars(owner), **local_names})


class ResolvedChannel(msgspec.Struct, frozen=True):
    """A channel's name, and the class that declares it; None for a plain string."""

    name: str
    declaration: type[Channel] | None


def resolve_channel(channel: Channel | str) -> ResolvedChannel:
    """Check what a user gave as a channel. `ChannelError` when it cannot be one."""
    if isinstance(channel, Channel):
        return ResolvedChannel(channel.name, type(channel))
    if isinstance(channel, type) and issubclass(channel, Channel):
        raise ChannelError(f"{channel.__name__} is a class of channels; make one of them: {channel.__name__}(...).")
    return ResolvedChannel(check_channel_name(channel), None)


def resolve_topics(
    channel: Channel | str, topics: Sequence[str | Topic[Any] | TopicRef[Any]] | None = None
) -> tuple[str, ...]:
    """The names on the wire of `topics` of `channel`, without repetitions.

    None means every topic that the channel declares. `TopicError` for an empty sequence, a topic that the channel does
    not declare, a `TopicRef` of another channel, and None with a channel that declares nothing, such as a string.
    """
    declared = channel.topics() if isinstance(channel, Channel) else None
    if topics is None:
        if not declared:
            what = (
                f"{type(channel).__name__} declares no topics" if declared is not None else "A str declares no topics"
            )
            raise TopicError(f"{what}. Say which ones: topics=[...].")
        return tuple(declared)
    if isinstance(topics, (str, Topic, TopicRef)):
        raise TopicError("topics must be a list. Put the one topic into brackets: topics=[...].")
    names = tuple(dict.fromkeys(_topic_name(channel, declared, item) for item in topics))
    if not names:
        raise TopicError("topics is empty, so nothing would ever arrive. Name at least one topic.")
    return names


def _topic_name(
    channel: Channel | str, declared: Mapping[str, Topic[Any]] | None, item: str | Topic[Any] | TopicRef[Any]
) -> str:
    if isinstance(item, TopicRef):
        if item.channel.name != str(channel):
            raise TopicError(
                f"{item.name!r} is a topic of {item.channel!r}, not of {channel!r}. Take it from the same channel.",
                topic=item.name,
            )
        item = item.topic
    if isinstance(item, Topic):
        if declared is not None and declared.get(item.name) is not item:
            raise TopicError(f"{item!r} is declared by another class than {channel!r}.", topic=item.name)
        return item.name
    name = check_topic_name(item)
    if declared is not None and name not in declared:
        known = ", ".join(declared) or "none"
        raise TopicError(f"{type(channel).__name__} has no topic {name!r}; it has: {known}.", topic=name)
    return name


def adapter_for(declaration: type[Channel] | None, topic_name: str) -> TypeAdapter[Any] | None:
    """What validates the data of a topic, by its name on the wire; None when nothing does."""
    declared = declaration.topics().get(topic_name) if declaration is not None else None
    return declared.adapter if declared is not None else None
