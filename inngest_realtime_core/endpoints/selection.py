"""What one request asks of a grant: its parameters become a channel and topics, or an `EndpointError`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..channels.channel import Channel
from ..errors import ChannelError
from .errors import EndpointError
from .grants import Grant, camel_case
from .parameters import TOPICS, body_parameters, spelling_of

__all__ = ["Selection", "resume_point", "select"]

_MAX_CHANNEL: Final = 512  # characters of a channel's name that comes from the web


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

    @property
    def granted_order(self) -> tuple[str, ...]:
        """The topics in the order of the grant: streams of the same topics then share their work."""
        return tuple(topic for topic in self.grant.topics if topic in self.topics)


def select(
    grant: Grant,
    parameters: Iterable[tuple[str, str]],
    body: bytes = b"",
    *,
    content_type: str = "",
    ignore_unknown: bool = False,
) -> Selection:
    """Reads a request's parameters.

    Args:
        grant: What the request is to be held against.
        parameters: The query as (name, value) pairs, repeated names included. Channel parameters are spelt in
            camelCase or snake_case; `topics` may be repeated, comma-separated, or both, and be spelt `topics[]`.
        body: A JSON object or a form with more of the same; empty for none.
        content_type: The body's type: a form says so.
        ignore_unknown: Passes over parameters that nobody declared, for routes that have their own.

    Raises:
        EndpointError: 400 for a missing, unknown, repeated or contradictory parameter or a malformed body, 422 for a
            value that does not fit its parameter, 403 for a topic that is not granted.
    """
    values: dict[str, str] = {}
    spellings: dict[str, str] = {}
    asked: dict[str, None] | None = None
    for source in (parameters, body_parameters(body, content_type)):
        seen: set[str] = set()
        for spelling, value in source:
            name = grant.spellings.get(spelling)
            if name is None:
                if spelling_of(spelling) == TOPICS:
                    asked = asked or {}
                    asked.update((topic, None) for topic in map(str.strip, value.split(",")) if topic)
                elif not ignore_unknown and spelling not in grant.extra_parameters:
                    raise _unknown(grant, spelling)
                continue
            if spelling in seen:
                raise EndpointError(
                    400, "repeated_parameter", f"{spelling} is given more than once.", parameter=spelling
                )
            seen.add(spelling)
            # In a route of one's own it may be the route that has spelt it, in Python's way.
            spellings.setdefault(name, camel_case(name) if ignore_unknown else spelling)
            if values.setdefault(name, value) != value:
                message = f"{spelling} is given twice, with different values."
                raise EndpointError(400, "contradictory_parameter", message, parameter=spelling)
    return Selection(grant, _channel(grant, values, spellings), _topics(grant, asked))


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


def _channel(grant: Grant, values: dict[str, str], spellings: dict[str, str]) -> Channel | str:
    if isinstance(grant.channel, str):
        return grant.channel
    for name in grant.channel.parameters():
        if name not in values:
            spelling = camel_case(name)
            raise EndpointError(400, "missing_parameter", f"{spelling} is missing.", parameter=spelling)
    try:
        channel = grant.channel.from_strings(values)
    except ChannelError as error:
        parameter = None if error.parameter is None else spellings.get(error.parameter)
        raise EndpointError(422, "invalid_parameter", str(error), parameter=parameter) from error
    if len(channel.name) > _MAX_CHANNEL:
        longest = spellings[max(values, key=lambda name: len(values[name]))]
        message = f"{longest} makes a channel's name of more than {_MAX_CHANNEL} characters."
        raise EndpointError(422, "invalid_parameter", message, parameter=longest)
    return channel


def _topics(grant: Grant, asked: dict[str, None] | None) -> tuple[str, ...]:
    if asked is None:
        return grant.topics
    if not asked:
        message = "topics is empty: name at least one, or leave it out for all."
        raise EndpointError(400, "empty_topics", message, parameter=TOPICS)
    for topic in asked:
        if topic not in grant.topics:
            message = f"topics asks for {topic!r}, which is not granted here."
            raise EndpointError(403, "topic_not_granted", message, parameter=TOPICS)
    return tuple(asked)


def _unknown(grant: Grant, spelling: str) -> EndpointError:
    known = [camel_case(name) for name in dict.fromkeys(grant.spellings.values())]
    message = f"{spelling} is not a parameter here; these are: {', '.join([*known, TOPICS])}."
    return EndpointError(400, "unknown_parameter", message, parameter=spelling)
