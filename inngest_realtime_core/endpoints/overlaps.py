"""Grants whose channels can have the same name, so that who may have one gets the other's."""

from __future__ import annotations

import string
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import combinations
from uuid import UUID

from ..channels.channel import Channel, template_of
from ..channels.parameter import Parameter, bare_types, choices_of, text_of
from ..errors import ConfigurationError
from .grants import Grant

_DIGITS = frozenset(string.digits)
_HEX = frozenset("0123456789abcdef")
_DASH = frozenset("-")
_FIRST = _DIGITS - {"0"}  # how a number begins


def check_overlaps(grants: Sequence[Grant]) -> None:
    """Refuse grants of different channels that can have the same name.

    Raises:
        ConfigurationError: Two can, and neither says `may_overlap=True`.
    """
    for one, other in combinations(grants, 2):
        if one.channel == other.channel or one.may_overlap or other.may_overlap:
            continue
        name = common_name(one.channel, other.channel)
        if name is not None:
            raise ConfigurationError(
                f"The grants {one.name!r} and {other.name!r} overlap: both can mean the channel {name!r}, so who may "
                "have it by one of them gets what the other protects. Give the channels names that differ, or declare "
                "types that exclude the case (int, Literal, UUID); where it is meant, say may_overlap=True."
            )


def common_name(one: type[Channel] | str, other: type[Channel] | str) -> str | None:
    """The shortest name, or one of them, that channels of both can have; None when there is none."""
    # One letter stands for all characters that neither of them mentions.
    known = _characters(one) | _characters(other) | _HEX | _DASH | frozenset("x")
    first, second = _automaton(one, known), _automaton(other, known)
    seen = {(0, 0)}
    waiting: deque[tuple[int, int, str]] = deque([(0, 0, "")])
    while waiting:
        here, there, name = waiting.popleft()
        if here == first.end and there == second.end:
            return name
        for characters, onward in first.edges[here]:
            for others, across in second.edges[there]:
                both = characters & others
                if both and (onward, across) not in seen:
                    seen.add((onward, across))
                    waiting.append((onward, across, name + min(both, key=_plainness)))
    return None


# One way in which a part of a name can be written: characters in order; None repeats the last ones.
_Form = Sequence[frozenset[str] | None]


_UUID_FORM: _Form = [character for width in (8, 4, 4, 4, 12) for character in (_DASH, *[_HEX] * width)][1:]
_DATE_FORM: _Form = [character for width in (4, 2, 2) for character in (_DASH, *[_DIGITS] * width)][1:]


def _plainness(character: str) -> tuple[bool, str]:
    return not character.isalnum(), character


class _Automaton:
    """What a name can be: edges from state to state, with the characters that lead there. It begins at 0."""

    def __init__(self) -> None:
        self.edges: list[list[tuple[frozenset[str], int]]] = [[]]
        self.end = 0

    def add(self, forms: Iterable[_Form]) -> None:
        """Go on with one of these forms."""
        ends: set[int] = set()
        for form in forms:
            here = self.end
            characters: frozenset[str] = frozenset()
            for step in form:
                if step is None:
                    self.edges[here].append((characters, here))
                    continue
                characters = step
                self.edges.append([])
                self.edges[here].append((characters, len(self.edges) - 1))
                here = len(self.edges) - 1
            ends.add(here)
        # The ends become one state, from which the name goes on.
        self.edges.append([])
        self.end = len(self.edges) - 1
        for edges in self.edges:
            edges += [(characters, self.end) for characters, onward in edges if onward in ends]


def _automaton(channel: type[Channel] | str, known: frozenset[str]) -> _Automaton:
    automaton = _Automaton()
    literals, parameters = _parts(channel)
    separators: frozenset[str] = frozenset() if isinstance(channel, str) else template_of(channel).separators
    for index, literal in enumerate(literals):
        if index > 0:
            automaton.add(_forms(parameters[index - 1], known - separators, separators))
        if literal:
            automaton.add([_exactly(literal)])
    return automaton


def _parts(channel: type[Channel] | str) -> tuple[Sequence[str], Sequence[Parameter]]:
    if isinstance(channel, str):
        return [channel], []
    template, parameters = template_of(channel), channel.parameters()
    return template.literals, [parameters[name] for name in template.placeholders]


def _forms(parameter: Parameter, allowed: frozenset[str], separators: frozenset[str]) -> list[_Form]:
    forms: list[_Form] = []
    for bare in bare_types(parameter.annotation):
        choices = choices_of(bare)
        if choices is not None:
            forms += [_exactly(text) for text in map(text_of, choices) if text and not separators & set(text)]
        elif bare is UUID:
            forms.append(_UUID_FORM)
        elif bare is date:
            forms.append(_DATE_FORM)
        elif bare is int:
            signs: list[_Form] = [[]] if "-" in separators else [[], [_DASH]]
            forms.append([frozenset("0")])
            forms += [[*sign, *digits] for sign in signs for digits in ([_FIRST], [_FIRST, _DIGITS, None])]
        elif bare is not type(None):
            forms.append([allowed, None])
            if not (isinstance(bare, type) and issubclass(bare, str)):
                # Whatever it is, a value of it may be one of these, whose dashes are no separators.
                forms += [_UUID_FORM, _DATE_FORM]
    return forms


def _exactly(text: str) -> _Form:
    return [frozenset(character) for character in text]


def _characters(channel: type[Channel] | str) -> frozenset[str]:
    literals, parameters = _parts(channel)
    found = set("".join(literals))
    for parameter in parameters:
        for bare in bare_types(parameter.annotation):
            found.update(*map(text_of, choices_of(bare) or ()))
    return frozenset(found)
