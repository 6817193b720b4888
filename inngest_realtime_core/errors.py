"""Every exception this package raises. All derive from `RealtimeError`.

No message, attribute or repr of these errors contains a signing key, a token or a query string.
"""

from __future__ import annotations

from typing import Any


class RealtimeError(Exception):
    """The base of all errors of this package. They can be pickled and copied, which leaves their traceback behind."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with the message alone.
        return _restore, (type(self), self.args, dict(self.__dict__))


def _restore(kind: type[RealtimeError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> RealtimeError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class ConfigurationError(RealtimeError):
    """The application is set up wrongly: a missing signing key, a wrong URL, a wrong declaration."""


class ChannelError(RealtimeError, ValueError):
    """A channel's name, or the value of one of its parameters, is not acceptable.

    Attributes:
        parameter: The parameter that was refused, or None when the fault is not one parameter's.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class TopicError(RealtimeError, ValueError):
    """A topic is not one that the channel declares, or its name is not acceptable.

    Attributes:
        topic: The name that was refused, or None when no single name is at fault.
    """

    def __init__(self, message: str, *, topic: str | None = None) -> None:
        super().__init__(message)
        self.topic = topic


class PublishError(RealtimeError, ValueError):
    """A message was refused before it was sent, because Inngest would lose or change it."""


class InngestError(RealtimeError):
    """A call to Inngest failed.

    Attributes:
        status: The HTTP status, or None when there was no response.
        url: The URL that was called, without its query.
    """

    def __init__(self, message: str, *, url: str, status: int | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.status = status


class AuthenticationError(InngestError):
    """The signing key or the subscription token was not accepted (401 or 403).

    Attributes:
        by_inngest: The response was Inngest's own, so that trying again does not help. Otherwise something in front of
            Inngest may have responded.
    """

    def __init__(self, message: str, *, url: str, status: int | None = None, by_inngest: bool = True) -> None:
        super().__init__(message, url=url, status=status)
        self.by_inngest = by_inngest


class UnreachableError(InngestError):
    """Inngest did not respond: connection refused, name not found, timed out, or cut off."""


class UnexpectedResponseError(InngestError):
    """Inngest, or something in its place, gave a response that is not part of the protocol."""


class MessageError(RealtimeError):
    """One message could not be delivered; the subscription goes on. Given to `on_error` and logged.

    Attributes:
        channel: The message's channel, or None when the frame did not say.
        topic: The message's topic, or None when the frame did not say.
        payload_size: Bytes that the error keeps of the message, by its cause: of the payload and what was made of it.
    """

    def __init__(
        self, message: str, *, channel: str | None = None, topic: str | None = None, payload_size: int = 0
    ) -> None:
        super().__init__(message)
        self.channel = channel
        self.topic = topic
        self.payload_size = payload_size


class MessageValidationError(MessageError):
    """A message's data does not fit the type its topic declares.

    The cause is pydantic's `ValidationError`, unless that would keep more than a mebibyte: of many mistakes.
    """


class FrameTooLargeError(MessageError):
    """A frame was larger than 4 MiB and was not read.

    Attributes:
        size: The frame's length in bytes.
    """

    def __init__(self, message: str, *, size: int, channel: str | None = None, topic: str | None = None) -> None:
        super().__init__(message, channel=channel, topic=topic)
        self.size = size


class SubscriptionClosedError(RealtimeError):
    """A subscription was used after it had been closed."""


class ConcurrentReadError(RealtimeError):
    """A second read of one subscription began while another one was waiting: `get_json_stream()` gives each its own."""


class ConnectionLostError(InngestError):
    """The connection to Inngest was lost; the subscription goes on and a gap follows. Given to `on_error`, once."""


class ShuttingDownError(RealtimeError):
    """The process is shutting down, so no new stream is opened."""


class DataStreamInterruptedError(MessageError):
    """A data stream ended before its end was received: some of its chunks are missing.

    Attributes:
        stream_id: The stream's id, as its messages carry it.
    """

    def __init__(self, message: str, *, stream_id: str, channel: str | None = None, topic: str | None = None) -> None:
        super().__init__(message, channel=channel, topic=topic)
        self.stream_id = stream_id
