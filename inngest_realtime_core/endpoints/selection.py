"""What one request asks of a grant: its string parameters become a channel and topics, or a `EndpointError`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from ..channels.channel import Channel
from ..errors import ChannelError
from .errors import EndpointError
from .grants import Grant, camel_case

__all__ = ["Selection", "resume_point", "select"]

_TOPICS = "topics"


@dataclass(frozen=True)
class Selection:
    """A channel and the topics of it that a request may ask for, before anyone has been authorized.

    Attributes:
        grant: The grant that the request came under.
        channel: An instance of the grant's class, or the plain name.
        topics: At least one of the grant's topics, in the order asked for.
    """

    grant: Grant
    channel: Channel | str
    topics: tuple[str, ...]


def select(
    grant: Grant, parameters: Iterable[tuple[str, str]], body: bytes = b"", *, ignore_unknown: bool = False
) -> Selection:
    """Reads a request's parameters.

    Args:
        grant: What the request is to be held against.
        parameters: The query as (name, value) pairs, repeated names included. Channel parameters are spelt in
            camelCase or snake_case; `topics` may be repeated, comma-separated, or both.
        body: A JSON object with more of the same, `topics` as a list or a string; empty for none.
        ignore_unknown: Passes over parameters that nobody declared, for routes that have their own.

    Raises:
        EndpointError: 400 for a missing, unknown, repeated or contradictory parameter or a malformed body, 422 for a
            value that does not fit its parameter, 403 for a topic that is not granted.
    """
    values: dict[str, str] = {}
    asked: dict[str, None] | None = None
    for source in (parameters, _body_parameters(body)):
        seen: set[str] = set()
        for spelling, value in source:
            if spelling == _TOPICS:
                asked = asked or {}
                asked.update((topic, None) for topic in map(str.strip, value.split(",")) if topic)
                continue
            name = grant.spellings.get(spelling)
            if name is None:
                if not ignore_unknown and spelling not in grant.extra_parameters:
                    raise _unknown(grant, spelling)
                continue
            if spelling in seen:
                raise EndpointError(
                    400, "repeated_parameter", f"{spelling} is given more than once.", parameter=spelling
                )
            seen.add(spelling)
            if values.setdefault(name, value) != value:
                message = f"{spelling} is given twice, with different values."
                raise EndpointError(400, "contradictory_parameter", message, parameter=spelling)
    return Selection(grant, _channel(grant, values), _topics(grant, asked))


def resume_point(parameters: Iterable[tuple[str, str]], header: str | None) -> tuple[list[tuple[str, str]], str | None]:
    """Takes `lastEventId` out of a query: it stands for the `Last-Event-ID` header, which a reloaded page cannot send.

    The header wins: an `EventSource` that reconnects sends it, newer, with the URL that it began with.
    """
    rest: list[tuple[str, str]] = []
    for name, value in parameters:
        if name in ("lastEventId", "last_event_id"):
            header = header or value or None
        else:
            rest.append((name, value))
    return rest, header


def _channel(grant: Grant, values: dict[str, str]) -> Channel | str:
    if isinstance(grant.channel, str):
        return grant.channel
    for name in grant.channel.parameters():
        if name not in values:
            spelling = camel_case(name)
            raise EndpointError(400, "missing_parameter", f"{spelling} is missing.", parameter=spelling)
    try:
        return grant.channel.from_strings(values)
    except ChannelError as error:
        parameter = None if error.parameter is None else camel_case(error.parameter)
        raise EndpointError(422, "invalid_parameter", str(error), parameter=parameter) from error


def _topics(grant: Grant, asked: dict[str, None] | None) -> tuple[str, ...]:
    if asked is None:
        return grant.topics
    if not asked:
        message = "topics is empty: name at least one, or leave it out for all."
        raise EndpointError(400, "empty_topics", message, parameter=_TOPICS)
    for topic in asked:
        if topic not in grant.topics:
            message = f"topics asks for {topic!r}, which is not granted here."
            raise EndpointError(403, "topic_not_granted", message, parameter=_TOPICS)
    return tuple(asked)


def _unknown(grant: Grant, spelling: str) -> EndpointError:
    known = [camel_case(name) for name in dict.fromkeys(grant.spellings.values())]
    message = f"{spelling} is not a parameter here; these are: {', '.join([*known, _TOPICS])}."
    return EndpointError(400, "unknown_parameter", message, parameter=spelling)


def _body_parameters(body: bytes) -> Iterator[tuple[str, str]]:
    """The (name, value) pairs of a JSON object, as a query would have spelt them."""
    if not body.strip():
        return
    try:
        document = cast("object", msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        raise EndpointError(400, "malformed_body", "The body is not a JSON object.")
    for name, value in cast("dict[str, object]", document).items():
        if name == _TOPICS and isinstance(value, list):
            yield from ((name, _string(name, item)) for item in cast("Sequence[object]", value or [""]))
        else:
            yield name, _string(name, value)


def _string(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    message = f"{name} has a value that is neither a string nor an integer."
    raise EndpointError(400, "malformed_body", message, parameter=name)
