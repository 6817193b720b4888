"""What one request asks of a grant: its parameters become a channel and topics, or an `EndpointError`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..arguments import Rewind
from ..channels.channel import Channel
from ..errors import ChannelError
from .errors import EndpointError
from .grants import Grant, camel_case
from .parameters import TOPICS, body_parameters, repeated, spelling_of


@dataclass(frozen=True)
class Selection:
    """A channel and the topics of it that a request may ask for, before anyone has been authorized.

    Attributes:
        grant: The grant that the request came under.
        channel: An instance of the grant's class, or the plain name.
        topics: At least one of the grant's topics, in the order asked for.
        wishes: What the request says of `full`, `format` and `rewind`, where the endpoint knows them.
    """

    grant: Grant
    channel: Channel | str
    topics: tuple[str, ...]
    wishes: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def full(self) -> bool:
        """Whether the token is wanted with its channel and topics beside it.

        Raises:
            EndpointError: 422, `full` is neither true nor false.
        """
        asked = self.wishes.get("full", "false").lower()
        if asked not in ("", "1", "true", "0", "false"):
            raise EndpointError(422, "invalid_parameter", "full is either true or false.", parameter="full")
        return asked in ("", "1", "true") or self.grant.token == "full"

    @property
    def json(self) -> bool:
        """Whether a grant with `render` is to send JSON all the same.

        Raises:
            EndpointError: 422, `format` is not json.
        """
        if self.wishes.get("format", "json") != "json":
            raise EndpointError(422, "invalid_parameter", "format is json, or left out.", parameter="format")
        return "format" in self.wishes

    @property
    def rewind(self) -> Rewind | None:
        """How many messages of each topic that came before are wanted first.

        Raises:
            EndpointError: 422 for what is no number, 403 for more than the grant allows.
        """
        asked = self.wishes.get("rewind")
        allowed = self.grant.rewind
        if asked is None:
            return self.grant.rewind_default
        count = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0
        if asked != "all" and count == 0:
            message = "rewind is a number of messages above 0, or all."
            raise EndpointError(422, "invalid_parameter", message, parameter="rewind")
        if allowed != "all" and (allowed is None or asked == "all" or count > allowed):
            message = f"rewind asks for {asked}; {'nothing' if allowed is None else allowed} is granted here."
            raise EndpointError(403, "rewind_not_granted", message, parameter="rewind")
        return "all" if asked == "all" else count

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
    wishes: Collection[str] = (),
    max_length: int = 512,
) -> Selection:
    """Reads a request's parameters.

    Args:
        grant: What the request is to be held against.
        parameters: The query as (name, value) pairs, repeated names included. Channel parameters are spelt in
            camelCase or snake_case; `topics` may be repeated, comma-separated, or both, and be spelt `topics[]`.
        body: A JSON object or a form with more of the same; empty for none.
        content_type: The body's type: a form says so.
        ignore_unknown: Passes over parameters that nobody declared, for routes that have their own.
        wishes: The reserved parameters that the endpoint knows.
        max_length: Characters of the channel's name at most.

    Raises:
        EndpointError: 400 for a missing, unknown, repeated or contradictory parameter or a malformed body, 422 for a
            value that does not fit its parameter, 403 for a topic that is not granted.
    """
    values: dict[str, str] = {}
    spellings: dict[str, str] = {}
    asked: dict[str, None] | None = None
    wished: dict[str, str] = {}
    for source in (parameters, body_parameters(body, content_type)):
        seen: set[str] = set()
        for spelling, value in source:
            name = grant.spellings.get(spelling)
            if name is None:
                if spelling_of(spelling) == TOPICS:
                    asked = asked or {}
                    asked.update((topic, None) for topic in map(str.strip, value.split(",")) if topic)
                elif spelling in wishes:
                    if wished.setdefault(spelling, value) != value:
                        raise _contradictory(spelling)
                elif not ignore_unknown and spelling not in grant.extra_parameters:
                    raise _unknown(grant, spelling)
                continue
            if spelling in seen:
                raise repeated(spelling)
            seen.add(spelling)
            # In a route of one's own it may be the route that has spelt it, in Python's way.
            spellings.setdefault(name, camel_case(name) if ignore_unknown else spelling)
            if values.setdefault(name, value) != value:
                raise _contradictory(spelling)
    return Selection(grant, _channel(grant, values, spellings, max_length), _topics(grant, asked), wished)


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


def _channel(grant: Grant, values: dict[str, str], spellings: dict[str, str], max_length: int) -> Channel | str:
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
    if len(channel.name) > max_length:
        longest = spellings[max(values, key=lambda name: len(values[name]))]
        message = f"{longest} makes a channel's name of more than {max_length} characters."
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


def _contradictory(spelling: str) -> EndpointError:
    message = f"{spelling} is given twice, with different values."
    return EndpointError(400, "contradictory_parameter", message, parameter=spelling)


def _unknown(grant: Grant, spelling: str) -> EndpointError:
    known = [camel_case(name) for name in dict.fromkeys(grant.spellings.values())]
    message = f"{spelling} is not a parameter here; these are: {', '.join([*known, TOPICS])}."
    return EndpointError(400, "unknown_parameter", message, parameter=spelling)
