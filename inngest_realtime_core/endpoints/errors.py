"""A request that gets no token and no stream: the status, the JSON and the headers that say why.

The body is `{"error": {"code": "...", "message": "..."}}`, with `"parameter"` beside them when one parameter is at
fault. `code` is for programs and stable; `message` is for people. What only the operator should know (which URL,
which key) goes to the log, never to the client.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from .._telemetry.throttled_log import ThrottledLog
from ..errors import (
    AuthenticationError,
    ChannelError,
    ConfigurationError,
    InngestError,
    RealtimeError,
    ShuttingDownError,
    TopicError,
    UnreachableError,
)
from .grants import camel_case

_log = ThrottledLog(logging.getLogger("inngest_realtime.endpoints"))

_RETRY_UNREACHABLE: Final = 5  # seconds: Inngest restarts and networks heal in about this
_RETRY_ELSEWHERE: Final = 1  # seconds: another process, or the same after a restart, can take the request


class EndpointError(RealtimeError):
    """An endpoint's answer when it gives neither token nor stream.

    Attributes:
        status: The HTTP status.
        code: The stable word for the reason, see the table of `Endpoints`.
        message: The sentence for people. `str(error)` is the same.
        parameter: The request parameter at fault, as the client spelt it, or None.
        retry_after: Seconds after which asking again makes sense, or None.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        parameter: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.parameter = parameter
        self.retry_after = retry_after
        self._headers = dict(headers or {})

    @property
    def detail(self) -> Mapping[str, str]:
        """The `error` object of the body: `code`, `message` and perhaps `parameter`."""
        detail = {"code": self.code, "message": self.message}
        return detail if self.parameter is None else {**detail, "parameter": self.parameter}

    @property
    def body(self) -> bytes:
        """The JSON document, encoded.

        Without `<`: it repeats what the request said, and htmx 4 swaps what is refused into the page.
        """
        return msgspec.json.encode({"error": self.detail}).replace(b"<", b"\\u003c")

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that go with the status, the body's type excepted."""
        headers = {"Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return {**headers, **self._headers}

    @classmethod
    def refused(cls, status: int, message: str | None, headers: Mapping[str, str] | None = None) -> EndpointError:
        """What `authorize` has refused with an exception of its framework."""
        code = {401: "unauthenticated", 403: "forbidden", 404: "not_found"}.get(status, "refused")
        return cls(status, code, message or "This request may not subscribe to this channel.", headers=headers)

    @classmethod
    def of(cls, error: RealtimeError) -> EndpointError:
        """The endpoint error that answers an error met while serving a request; the error itself is logged."""
        if isinstance(error, EndpointError):
            return error
        if isinstance(error, ShuttingDownError):
            return cls(503, "shutting_down", "This server is shutting down; ask again.", retry_after=_RETRY_ELSEWHERE)
        if isinstance(error, ChannelError):
            parameter = None if error.parameter is None else camel_case(error.parameter)
            return cls(422, "invalid_parameter", str(error), parameter=parameter)
        if isinstance(error, TopicError):
            return cls(422, "invalid_topic", str(error))
        _log_failure(error)
        if isinstance(error, UnreachableError):
            return cls(
                503, "inngest_unreachable", "Inngest cannot be reached; ask again.", retry_after=_RETRY_UNREACHABLE
            )
        if isinstance(error, AuthenticationError):
            return cls(502, "inngest_refused", "Inngest refused this server's request. The server's log says why.")
        if isinstance(error, InngestError):
            return cls(502, "inngest_failed", "Inngest gave an unexpected response. The server's log says which.")
        if isinstance(error, ConfigurationError):
            return cls(500, "misconfigured", "Realtime is not set up rightly here. The server's log says how.")
        return cls(500, "failed", "The request failed. The server's log says why.")


def _log_failure(error: RealtimeError) -> None:
    kind = (type(error), error.status if isinstance(error, InngestError) else None)
    _log.write(logging.ERROR, kind, f"A realtime endpoint failed: {error}", error, event="endpoint.failed")
