"""The options of the endpoints: one value, the same in every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from typing_extensions import TypedDict

from ..arguments import MAX_COUNT, check_count, check_interval, is_number, wrong_argument
from ..errors import ConfigurationError

_CLIENT_STREAMS = 32
_LEAST_RATE = 1e-6  # a second: one in eleven days


@dataclass(frozen=True)
class EndpointOptions:
    """How the endpoints serve their grants.

    Attributes:
        heartbeat: Seconds between the heartbeats of a stream, unless its grant says otherwise.
        max_streams: Streams open at once in this process; more are answered with 503. None for no limit. By default
            10,000, and 16 under WSGI, where each stream occupies a thread: give the server more threads than this.
        max_streams_per_client: Streams open at once for one client; more are answered with 429. Needs `client`, and is
            then 32 by default.
        rate_per_client: New channels or tokens a second for one client; more are answered with 429. Needs `client`.
        burst_per_client: How many of them at once, after a while of none.
        client: Says of a request whose it is: a user's id, say. It returns a text, or None for a request that is not
            limited.
        authorize_timeout: Seconds that `authorize` may take; then the request is answered with 503. None for no limit.
            Under WSGI a synchronous `authorize` has none.
        send_timeout: Seconds that one send to a client may block before its stream is ended. None for no limit.
        max_body: Bytes of a request's body; a larger one is answered with 413, and not read.
        max_channel_length: Characters of a channel's name that a request makes; a longer one is answered with 422.

    Raises:
        ConfigurationError: A value makes no sense.
    """

    heartbeat: float = 10.0
    max_streams: int | None = 10_000
    max_streams_per_client: int | None = None
    rate_per_client: float = 20.0
    burst_per_client: int = 100
    client: Callable[[Any], object] | None = None
    authorize_timeout: float | None = 10.0
    send_timeout: float | None = 30.0
    max_body: int = 65_536
    max_channel_length: int = 512

    def __post_init__(self) -> None:
        for name in ("heartbeat", "authorize_timeout", "send_timeout"):
            check_interval(name, getattr(self, name), optional=name != "heartbeat")
        if not is_number(self.rate_per_client, _LEAST_RATE, MAX_COUNT):
            raise wrong_argument("rate_per_client", self.rate_per_client, f"a number from {_LEAST_RATE} on")
        for name in ("max_streams", "max_streams_per_client", "burst_per_client", "max_body", "max_channel_length"):
            if getattr(self, name) is not None or not name.startswith("max_streams"):
                check_count(name, getattr(self, name))
        if self.client is None:
            if self.max_streams_per_client is not None:
                raise ConfigurationError(
                    "max_streams_per_client is given without client: pass client=, a function of the request that "
                    "returns whose it is, such as the id of its user."
                )
        elif not callable(self.client):
            raise wrong_argument("client", self.client, "a function of the request")
        elif self.max_streams_per_client is None:
            object.__setattr__(self, "max_streams_per_client", _CLIENT_STREAMS)

    @classmethod
    def take(cls, values: Mapping[str, Any], **defaults: Any) -> tuple[EndpointOptions, dict[str, Any]]:
        """Divides the keyword arguments of an adapter into its endpoints' options and what is the framework's.

        Args:
            defaults: What the adapter's server needs other defaults for.
        """
        names = {option.name for option in fields(cls)}
        own = {name: value for name, value in values.items() if name in names}
        rest = {name: value for name, value in values.items() if name not in names}
        return cls(**{**defaults, **own}), rest


class OptionsDict(TypedDict, total=False):
    """`EndpointOptions` as keyword arguments."""

    heartbeat: float
    max_streams: int | None
    max_streams_per_client: int | None
    rate_per_client: float
    burst_per_client: int
    client: Callable[[Any], object] | None
    authorize_timeout: float | None
    send_timeout: float | None
    max_body: int
    max_channel_length: int
