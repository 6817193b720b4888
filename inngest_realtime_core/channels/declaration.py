"""What the body of a Channel class declares, read when the class is made."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec

from ..errors import ConfigurationError
from .parameter import Parameter, evaluate_annotation
from .template import NameTemplate
from .topic import TopicDeclaration

_CLASS_VAR = re.compile(r"\s*(\w+\s*\.\s*)?ClassVar\b")


class Declaration(msgspec.Struct, frozen=True):
    """What a Channel class declares, its own and inherited."""

    template: NameTemplate | None
    parameters: Mapping[str, Parameter]
    topics: Mapping[str, TopicDeclaration[Any]]  # by wire name


def declare(
    cls: type[Any],
    root: type[Any],
    name: str | None,
    separators: str | None,
    inherited: NameTemplate | None,
    local_names: Mapping[str, Any],
) -> Declaration:
    """Read the class body and its bases. Types are not completed here: they may refer to what comes later."""
    owner = cls.__qualname__
    template = inherited
    if name is not None:
        template = NameTemplate.parse(name, owner=owner, separators=separators)
    elif separators is not None:
        raise ConfigurationError(f"{owner}: separators= says which characters of name= separate. Give a name.")
    _check_types(cls)
    parameters = {**_inherited_parameters(cls, root), **_own_parameters(cls, local_names)}
    attributes = _topic_attributes(cls)
    if template is None and parameters:
        raise ConfigurationError(
            f'{owner} has parameters but no name. Declare class {cls.__name__}(Channel, name="...{{parameter}}..."). '
            f"A topic is declared with {next(iter(parameters))} = topic(...), not with an annotation."
        )
    if template is not None:
        _check_parameters(cls, template, parameters, attributes)
    topics: dict[str, TopicDeclaration[Any]] = {}
    for attribute, declared in attributes.items():
        if hasattr(root, attribute):
            raise ConfigurationError(
                f"{owner}.{attribute}: this name is a channel's own. "
                f"Call the attribute otherwise and keep the name on the wire: topic(..., name={attribute!r})."
            )
        if declared.name in topics:
            raise ConfigurationError(f"{owner} declares the topic {declared.name!r} twice. Give one another name=.")
        topics[declared.name] = declared
    return Declaration(template, MappingProxyType(parameters), MappingProxyType(topics))


def _check_types(cls: type[Any]) -> None:
    for name, value in vars(cls).items():
        is_type = isinstance(value, type) or value is Any or typing.get_origin(value) is not None
        # Classes that are defined in the body, or named as classes are, are no topics.
        if not is_type or not name[0].islower() or name in inspect.get_annotations(cls):
            continue
        if getattr(value, "__qualname__", "") != f"{cls.__qualname__}.{name}":
            written = getattr(value, "__name__", None) if isinstance(value, type) else repr(value)
            raise ConfigurationError(
                f"{cls.__qualname__}.{name} is the type {written}, which declares nothing. For a topic write "
                f"{name} = topic({written}), for a constant {name}: ClassVar[...] = {written}."
            )


def _inherited_parameters(cls: Any, root: Any) -> dict[str, Parameter]:
    inherited: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__[1:]):
        if issubclass(base, root):
            declared: Mapping[str, Parameter] = base.parameters()
            inherited.update(declared)
    return inherited


def _own_parameters(cls: type[Any], local_names: Mapping[str, Any]) -> dict[str, Parameter]:
    own: dict[str, Parameter] = {}
    for name, annotation in inspect.get_annotations(cls).items():
        if isinstance(annotation, str):
            if _CLASS_VAR.match(annotation):
                continue
            try:
                annotation = evaluate_annotation(annotation, cls, local_names)
            except Exception:
                pass  # perhaps defined further down in the module: evaluated, and complained about, at its first use
        if ClassVar in (annotation, typing.get_origin(annotation)):
            continue
        if isinstance(vars(cls).get(name), TopicDeclaration):
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


def _topic_attributes(cls: type[Any]) -> dict[str, TopicDeclaration[Any]]:
    attributes: dict[str, TopicDeclaration[Any]] = {}
    for base in reversed(cls.__mro__):
        members: Mapping[str, Any] = vars(base)
        for attribute, value in members.items():
            if isinstance(value, TopicDeclaration):
                attributes[attribute] = value
            else:
                attributes.pop(attribute, None)  # overridden by something else
    return attributes


def _check_parameters(
    cls: type[Any],
    template: NameTemplate,
    parameters: Mapping[str, Parameter],
    topic_attributes: Mapping[str, TopicDeclaration[Any]],
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
                f"For a topic write {name} = topic(...). Otherwise put {{{name}}} into the name, or annotate it as "
                "ClassVar[...]."
            )
        if name in topic_attributes:
            raise ConfigurationError(f"{owner}.{name} is both a parameter and a topic. Rename one of them.")
        if hasattr(cls, name):
            raise ConfigurationError(f"{owner}.{name}: the class has an attribute of this name. Rename the parameter.")
