"""Subscription tokens: asking Inngest for one, and what is handed to browsers.

A token opens connections to the topics it names for one minute; a connection, once open, outlives it.
Protocol: `POST /v1/realtime/token`, answered by 201 and `{"jwt": "..."}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import msgspec

from ..errors import RealtimeError
from ..settings import Settings
from .claims import TokenClaims, TopicClaim, read_claims_unverified
from .errors_from_status import check_answer, unexpected
from .http import HttpRequest, HttpResponse
from .signing import base_headers, send_signed, send_signed_sync

__all__ = [
    "ClientSubscriptionToken",
    "Entry",
    "IssuedToken",
    "TokenClaims",
    "TopicClaim",
    "build_token_request",
    "mint",
    "mint_sync",
    "read_claims_unverified",
    "read_token_response",
]

_ACTION = "TokenCache a subscription token"


class _Answer(msgspec.Struct):
    jwt: str


Entry = tuple[str, str]
"""A channel and a topic name."""


class IssuedToken(msgspec.Struct, frozen=True):
    """A token and the environment it is for."""

    token: str
    env_id: str | None

    def __repr__(self) -> str:
        return f"IssuedToken(env_id={self.env_id!r})"

    @classmethod
    def of(cls, token: str) -> IssuedToken:
        """Read the environment from a token's claims."""
        try:
            return cls(token, read_claims_unverified(token).env_id)
        except RealtimeError:
            # Not a token that can be read here; Inngest says what it thinks of it.
            return cls(token, None)


@dataclass(frozen=True)
class ClientSubscriptionToken:
    """What a browser's `useRealtime` takes to subscribe. The repr leaves out the key.

    Attributes:
        key: The token, a JWT. Whoever has it can read the topics it names.
        api_base_url: The address of Inngest as the browser reaches it.
    """

    key: str = field(repr=False)
    api_base_url: str

    def to_dict(self) -> dict[str, str]:
        """The JSON for the browser: `{"key": "...", "apiBaseUrl": "..."}`."""
        return {"key": self.key, "apiBaseUrl": self.api_base_url}

    def read_claims_unverified(self) -> TokenClaims:
        """What the token says about itself, its signature not being verified."""
        return read_claims_unverified(self.key)


def build_token_request(settings: Settings, entries: Sequence[Entry]) -> HttpRequest:
    """The request for one token that covers `entries`, pairs of a channel's and a topic's name. Not signed yet."""
    topics = [{"channel": channel, "name": topic, "kind": "run"} for channel, topic in entries]
    headers = base_headers(settings, "application/json")
    return HttpRequest("POST", settings.url("token"), headers, msgspec.json.encode(topics), repeatable=True)


def read_token_response(request: HttpRequest, response: HttpResponse) -> str:
    """The JWT in the answer.

    Raises:
        AuthenticationError: Inngest refused the signing key.
        UnexpectedResponseError: Any other answer that is not a token.
    """
    check_answer(request, response, action=_ACTION)
    try:
        token = msgspec.json.decode(response.content, type=_Answer).jwt
    except msgspec.ValidationError:
        token = ""
    except msgspec.DecodeError:
        raise unexpected(request, response, _ACTION, "its content is not JSON. Is this an Inngest server?") from None
    if not token:
        raise unexpected(request, response, _ACTION, 'there is no "jwt" in it. Is this an Inngest server?')
    return token


async def mint(http: httpx.AsyncClient, settings: Settings, entries: Sequence[Entry]) -> str:
    """Ask Inngest for a token that covers `entries`, pairs of a channel's and a topic's name.

    Returns the JWT, valid for one minute.

    Raises:
        ConfigurationError: There is no signing key for Inngest's cloud, or it is malformed.
        AuthenticationError: Inngest refused the signing key, and the fallback key if there is one.
        UnreachableError: No answer within 10 seconds, no connection within 5.
        UnexpectedResponseError: An answer that is not a token.
    """
    return read_token_response(*await send_signed(http, settings, build_token_request(settings, entries)))


def mint_sync(http: httpx.Client, settings: Settings, entries: Sequence[Entry]) -> str:
    """The same as `mint`, blocking."""
    return read_token_response(*send_signed_sync(http, settings, build_token_request(settings, entries)))
