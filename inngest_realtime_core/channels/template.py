"""The template of a channel's name, such as `chat:{org}:{thread}`: its parts, and how values are put into it.

The mapping from values to names is one to one: two different sets of values never give the same name, so nobody
reaches another channel by putting a separator into a value.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from ..arguments import is_encodable
from ..errors import ChannelError, ConfigurationError

# What is always as long as any other of its type and not free text: its dashes cannot move a boundary.
_FIXED_FORMS: Mapping[object, str] = {
    UUID: "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    date: "[0-9]{4}-[0-9]{2}-[0-9]{2}",
}


def check_channel_name(name: object) -> str:
    """Return `name` when it can be a channel's name: a non-empty `str` that UTF-8 can carry. Else `ChannelError`."""
    if not isinstance(name, str):
        raise ChannelError(f"A channel is a Channel or a str, not {type(name).__name__}.")
    if not name:
        raise ChannelError("The channel's name is empty. Give it at least one character.")
    if not is_encodable(name):
        raise ChannelError("The channel's name contains a lone surrogate, which UTF-8 cannot carry.")
    return name


class NameTemplate(msgspec.Struct, frozen=True):
    """A parsed name template: `literals[0] {placeholders[0]} literals[1] ... literals[-1]`."""

    text: str
    literals: tuple[str, ...]
    placeholders: tuple[str, ...]
    separators: frozenset[str]

    @classmethod
    def parse(cls, text: object, *, owner: str, separators: object = None) -> NameTemplate:
        """Parse a template.

        Args:
            owner: The class named in a `ConfigurationError`.
            separators: The characters that no value may contain; None means all of the literal text but letters,
                digits and `_`.
        """
        if not isinstance(text, str) or not text:
            raise ConfigurationError(f'{owner}: name= must be a non-empty str, such as name="pipeline:{{run_id}}".')
        if not text.isprintable():
            raise ConfigurationError(f"{owner}: the name {text!r} contains characters that are not printable.")
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigurationError(
                f"{owner}: the name {text!r} is not a valid template ({error}). "
                "Write placeholders as {parameter}, and a literal brace twice."
            ) from None
        literals = [""]
        placeholders: list[str] = []
        for literal, placeholder, spec, conversion in parts:
            literals[-1] += literal
            if placeholder is None:
                continue
            if not placeholder.isidentifier() or spec or conversion:
                raise ConfigurationError(
                    f"{owner}: the placeholders of the name {text!r} must be plain parameter names, such as {{run_id}}."
                )
            if placeholder in placeholders:
                raise ConfigurationError(f"{owner}: the name {text!r} uses {{{placeholder}}} twice. Use it once.")
            if placeholders and not literals[-1]:
                raise ConfigurationError(
                    f"{owner}: in the name {text!r} {{{placeholders[-1]}}} and {{{placeholder}}} touch, so different "
                    "values could give the same name. Put a separator such as ':' between them."
                )
            placeholders.append(placeholder)
            literals.append("")
        if separators is None:
            separating = frozenset(char for char in "".join(literals) if not (char.isalnum() or char == "_"))
        else:
            separating = _checked_separators(separators, literals, text, owner)
        return cls(text, tuple(literals), tuple(placeholders), separating)

    def split(self, name: str, types: Mapping[str, Iterable[object]]) -> dict[str, str] | None:
        """The texts that stand for the placeholders in a name; None when the template cannot make it.

        Args:
            types: The types that each placeholder's value may have.
        """
        separators = re.escape("".join(sorted(self.separators)))
        character = f"[^{separators}]" if separators else "."
        pattern = re.escape(self.literals[0])
        for index, placeholder in enumerate(self.placeholders):
            literal = re.escape(self.literals[index + 1])
            last = index == len(self.placeholders) - 1
            # A value ends where the literal first appears (see _part), so there is one way to read a name: trying
            # others would take a time that grows with a power of the name's length.
            free = f"{character}+?" if last else f"(?:(?!{literal}){character})+"
            # Dates and UUIDs hold dashes of their own.
            kinds = list(types[placeholder])
            forms = dict.fromkeys(_FIXED_FORMS.get(kind, free) for kind in kinds)
            if Any in kinds:
                forms.update(dict.fromkeys(_FIXED_FORMS.values()))
            pattern += f"({'|'.join(sorted(forms, key=free.__eq__))})" + literal
        found = re.fullmatch(pattern, name, re.DOTALL)
        return None if found is None else dict(zip(self.placeholders, found.groups(), strict=True))

    def fill(self, values: Mapping[str, object]) -> str:
        """The name for `values`, which holds every placeholder. `ChannelError` names the value that is refused."""
        name = self.literals[0]
        for index, placeholder in enumerate(self.placeholders):
            following = self.literals[index + 1]
            last = index == len(self.placeholders) - 1
            name += self._part(placeholder, values[placeholder], "" if last else following) + following
        return name

    def writes(self, value: object, text: str) -> bool:
        """Whether `text` is what stands for `value` in a name."""
        try:
            return self._part("value", value, "") == text
        except ChannelError:
            return False

    def _part(self, parameter: str, value: object, following: str) -> str:
        text = _format(parameter, value)
        if not text:
            raise ChannelError(f"{parameter} is empty. A channel's parameter needs a value.", parameter=parameter)
        if not text.isprintable():
            raise ChannelError(f"{parameter} contains characters that are not printable.", parameter=parameter)
        fixed = isinstance(value, (UUID, date))
        refused = sorted(self.separators.intersection(text))
        if refused and not fixed:
            raise ChannelError(
                f"{parameter} contains {refused[0]!r}, which separates the parts of {self.text!r}. "
                "Choose values without it, or another separator for the channel's name.",
                parameter=parameter,
            )
        # The first place where the literal appears must be the end of the value, else `a_` + `__` + `b` and
        # `a` + `__` + `_b` would be the same name. So must it of a UUID or a date, which may hold any separator, where
        # nothing of the literal is one, such as `a`.
        told_apart = fixed and self.separators.intersection(following)
        if following and not told_apart and (text + following).find(following) != len(text):
            raise ChannelError(
                f"{parameter} runs into {following!r}, which separates the parts of {self.text!r}. "
                "Choose values without it, or another separator for the channel's name.",
                parameter=parameter,
            )
        return text


def _checked_separators(separators: object, literals: list[str], text: str, owner: str) -> frozenset[str]:
    if not isinstance(separators, str):
        raise ConfigurationError(f'{owner}: separators must be a str, such as separators=":".')
    for character in separators:
        if not any(character in literal for literal in literals):
            raise ConfigurationError(f"{owner}: the separator {character!r} is not in the name {text!r}.")
    for literal in literals[1:-1]:
        if not set(literal) & set(separators):
            raise ConfigurationError(
                f"{owner}: in the name {text!r} nothing of {literal!r} separates, so different values could give the "
                "same name. Add one of its characters to separators=."
            )
    return frozenset(separators)


def _format(parameter: str, value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        try:
            return str(value)
        except ValueError:
            raise ChannelError(
                f"{parameter} is an integer of more digits than Python writes as text.", parameter=parameter
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        return str(value)
    raise ChannelError(
        f"{parameter} is of type {type(value).__name__}; a channel's parameter is a str, int, UUID, date or Enum.",
        parameter=parameter,
    )
