"""What is handed to browsers: a token and where it can be used."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..arguments import describe
from ..errors import ConfigurationError
from .claims import TokenClaims, read_claims, read_claims_unverified


class ClientSubscriptionToken(dict[str, str]):
    """What a browser's `useRealtime` takes to subscribe: the mapping `{"key": "...", "apiBaseUrl": "..."}`.

    It is a dict, so that every framework and `json.dumps` write it as it is, and it cannot be changed. The repr leaves
    out the key.

    Args:
        key: The token, a JWT. Whoever has it can read the topics it names.
        api_base_url: The address of Inngest as the browser reaches it.
        channel: The channel's name; by default what the token says.
        topics: The names of the topics; by default what the token says.
    """

    __slots__ = ("_channel", "_topics")

    def __init__(
        self, key: str, api_base_url: str, *, channel: str | None = None, topics: Sequence[str] | None = None
    ) -> None:
        if not isinstance(cast("object", key), str) or not isinstance(cast("object", api_base_url), str):
            given = f"key is {describe(key)}, api_base_url is {describe(api_base_url)}"
            del key, api_base_url  # error reports show local variables
            raise ConfigurationError(f"Of a ClientSubscriptionToken {given}: expected a str for each.")
        super().__init__(key=key, apiBaseUrl=api_base_url)
        self._channel = channel
        self._topics = None if topics is None else tuple(topics)

    @classmethod
    def parse(cls, value: object) -> ClientSubscriptionToken:
        """Read a token as the SDKs write it: `{key, apiBaseUrl}`, or the older `{channel, topics, key}`.

        Raises:
            ConfigurationError: It is something else. The error repeats nothing of it.
        """
        if isinstance(value, cls):
            return value
        wanted = 'expected a ClientSubscriptionToken, or a dict such as {"key": "...", "apiBaseUrl": "..."}'
        if not isinstance(value, Mapping):
            described = describe(value)
            del value  # error reports show local variables
            raise ConfigurationError(f"The token is {described}: {wanted}.")
        given = cast("Mapping[str, Any]", value)
        key, address = given.get("key"), given.get("apiBaseUrl") or given.get("api_base_url") or ""
        channel, topics = given.get("channel"), given.get("topics")
        names = list(cast("Sequence[object]", topics)) if isinstance(topics, (list, tuple)) else None
        fits = isinstance(key, str) and bool(key) and isinstance(address, str)
        fits = fits and (names is None or all(isinstance(name, str) for name in names))
        if not fits:
            del value, given, key, address
            raise ConfigurationError(f"The token is not one that an SDK made: {wanted}.")
        return cls(
            cast("str", key),
            cast("str", address),
            channel=channel if isinstance(channel, str) else None,
            topics=cast("list[str] | None", names),
        )

    @property
    def key(self) -> str:
        """The token, a JWT."""
        return self["key"]

    @property
    def api_base_url(self) -> str:
        """The address of Inngest as the browser reaches it."""
        return self["apiBaseUrl"]

    @property
    def channel(self) -> str:
        """The name of the channel that the token is for; empty when it is for several, or cannot be read."""
        if self._channel is None:
            channels = {claim.channel for claim in self._claimed()}
            return channels.pop() if len(channels) == 1 else ""
        return self._channel

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics that the token is for."""
        if self._topics is None:
            return tuple(dict.fromkeys(claim.name for claim in self._claimed()))
        return self._topics

    def _claimed(self) -> Sequence[Any]:
        claims = read_claims(self["key"])
        return () if claims is None else claims.topics

    @overload
    def to_dict(self, *, full: Literal[False] = False) -> dict[str, str]: ...
    @overload
    def to_dict(self, *, full: bool) -> dict[str, Any]: ...
    def to_dict(self, *, full: bool = False) -> dict[str, Any]:
        """A plain dict for the browser: `{"key": "...", "apiBaseUrl": "..."}`.

        Args:
            full: With `channel` and `topics` before them, as older SDKs expect it.
        """
        if not full:
            return dict(self)
        return {"channel": self.channel, "topics": list(self.topics), **self}

    def read_claims_unverified(self) -> TokenClaims:
        """What the token says about itself, its signature not being verified.

        Raises:
            ConfigurationError: The key is not a token.
        """
        claims = read_claims(self["key"])
        if claims is None:
            del self  # error reports show local variables, and all of a dict
            claims = read_claims_unverified("")
        return claims

    def __repr__(self) -> str:
        # One that was refused as it was made holds nothing.
        return f"ClientSubscriptionToken(api_base_url={self.get('apiBaseUrl')!r})"

    # It cannot be changed, so unlike other dicts it can be hashed; of a dict checkers expect that it cannot.
    def __hash__(self) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash((self["key"], self["apiBaseUrl"]))

    def __reduce__(self) -> tuple[Any, ...]:
        restore = functools.partial(ClientSubscriptionToken, channel=self._channel, topics=self._topics)
        return restore, (self["key"], self["apiBaseUrl"])

    def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("A ClientSubscriptionToken cannot be changed. to_dict() gives a dict that can.")

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = {name: core_schema.typed_dict_field(core_schema.str_schema()) for name in ("key", "apiBaseUrl")}
        return core_schema.no_info_before_validator_function(
            lambda value: value if not isinstance(value, cls) else dict(value),
            core_schema.no_info_after_validator_function(cls.parse, core_schema.typed_dict_schema(fields)),
        )
