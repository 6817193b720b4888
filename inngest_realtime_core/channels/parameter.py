"""One parameter of a channel's name: its annotation, and how values and text are checked against it."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import TypeAliasType

from ..errors import ChannelError, ConfigurationError

# The types of which a text may be a value where it is not one of the first that pydantic thinks of: `date | int`.
_READERS: Mapping[Any, Callable[[str], Any]] = {str: str, int: int, UUID: UUID, date: date.fromisoformat}


class Parameter:
    """One parameter of a channel's name. Every parameter is required.

    Attributes:
        name: The attribute's name, in snake case.
    """

    def __init__(self, name: str, annotation: Any, owner: type[Any]) -> None:
        self.name: str = name
        self._annotation = annotation
        self._owner = owner
        self._adapter: TypeAdapter[Any] | None = None

    @property
    def declared_annotation(self) -> Any:
        """The annotation as it was written, which may be text."""
        return self._annotation

    @property
    def annotation(self) -> Any:
        """The annotation as a type, `Annotated` metadata included."""
        if isinstance(self._annotation, str):
            try:
                self._annotation = evaluate_annotation(self._annotation, self._owner, {})
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
            return self._declared(self.adapter.validate_python(value, strict=True))
        except ValidationError as error:
            raise self._error(error) from None

    def parse(self, text: object) -> Any:
        """Validate text from the web, converting it to the annotated type. `ChannelError` when it does not fit."""
        if not isinstance(text, str):
            raise ChannelError(f"{self.name} must be a string, not {type(text).__name__}.", parameter=self.name)
        choices, only = _choices(self.annotation)
        for choice in choices:
            if text_of(choice) == text:
                # pydantic takes no text for choices that are not text, such as the members of an IntEnum; and the
                # validators around them are to see what they see of a value.
                return self.check(choice)
        if only:
            written = ", ".join(repr(text_of(choice)) for choice in choices)
            raise ChannelError(f"{self.name} is not one of {written}.", parameter=self.name)
        try:
            value = self._declared(self.adapter.validate_strings(text))
            if type(value) in _READERS and not isinstance(value, str):
                self._check_again(value, text)
        except ValidationError as error:
            raise self._error(error) from None
        return value

    def read(self, text: str, writes: Callable[[Any, str], bool]) -> Any:
        """The value that stands in a name as `text`. `ChannelError` when there is none.

        Args:
            writes: Whether a name has this text for a value: 007 is none for 7, but may be one for "007".
        """
        failure = ChannelError(f"{self.name} is not written as {text!r}.", parameter=self.name)
        allowed = bare_types(self.annotation)
        kinds = [kind for kind in (_READERS if Any in allowed else allowed) if kind in _READERS]
        for reader in (None, *map(_READERS.get, kinds)):
            try:
                value = self.parse(text) if reader is None else self.check(reader(text))
            except ChannelError as error:
                failure = error
                continue
            except ValueError:
                continue
            if writes(value, text):
                return value
        raise failure

    def _check_again(self, value: Any, text: str) -> None:
        """Raises `ValidationError` for text whose value is not acceptable: some validators have seen the text alone."""
        try:
            value = _READERS[type(value)](text)
        except ValueError:
            pass  # a validator has read it
        try:
            self.adapter.validate_python(value, strict=True)
        except ValidationError:
            raise
        except Exception:  # a validator that takes nothing but texts; it has raised of every value then
            pass

    def _declared(self, value: Any) -> Any:
        """The value, when it is of a declared type: a validator may have made anything of it."""
        if not any(_is_of(value, bare) for bare in bare_types(self.annotation)):
            raise ChannelError(
                f"{self.name} is declared as {self._annotation!r}, and its validators made a value of type "
                f"{type(value).__name__} that this does not allow. Declare what they return.",
                parameter=self.name,
            )
        return value

    def _error(self, error: ValidationError) -> ChannelError:
        # Not str(error): it repeats the input, which may be long or private.
        reasons = "; ".join(dict.fromkeys(part["msg"] for part in error.errors(include_url=False)))
        return ChannelError(f"{self.name} is not acceptable: {reasons}.", parameter=self.name)

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self._annotation!r})"


def bare_types(annotation: Any) -> list[Any]:
    """The types that an annotation allows, without metadata, aliases and new names: one, or those of a union."""
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, TypeAliasType) or type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            break
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [bare for member in typing.get_args(annotation) for bare in bare_types(member)]
    return [annotation]


def choices_of(bare: Any) -> tuple[Any, ...] | None:
    """The values of a Literal or an Enum; None for another type."""
    if typing.get_origin(bare) is Literal:
        return typing.get_args(bare)
    return tuple(bare) if isinstance(bare, type) and issubclass(bare, Enum) else None


def text_of(choice: object) -> str:
    """How a value that an annotation lists is written."""
    return str(choice.value if isinstance(choice, Enum) else choice)


def _is_of(value: object, bare: Any) -> bool:
    """Whether a value is written as one of this type: what grants can overlap in is told from their types."""
    choices = choices_of(bare)
    if choices is not None:
        # Combinations of flags are not listed.
        return text_of(value) in map(text_of, choices) or (isinstance(bare, type) and isinstance(value, bare))
    if bare is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if bare in (UUID, date):
        return isinstance(value, bare) and not isinstance(value, datetime)
    # Of these values the separators are not looked for.
    return not (isinstance(bare, type) and issubclass(bare, str) and isinstance(value, (UUID, date)))


def _choices(annotation: Any) -> tuple[list[Any], bool]:
    """The values that an annotation lists, texts first, and whether it allows no others."""
    listed = [choices_of(bare) for bare in bare_types(annotation)]
    found = [choice for choices in listed if choices is not None for choice in choices]
    found.sort(key=lambda choice: not isinstance(choice.value if isinstance(choice, Enum) else choice, str))
    return found, None not in listed


def evaluate_annotation(annotation: str, owner: type[Any], local_names: Mapping[str, Any]) -> Any:
    module = sys.modules.get(owner.__module__)
    return eval(annotation, dict(vars(module)) if module else {}, {**vars(owner), **local_names})
