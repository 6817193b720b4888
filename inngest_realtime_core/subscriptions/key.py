"""A token minted elsewhere, given to `subscribe()`: what it is for, by its own claims."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

from .._api.claims import read_claims
from .._api.client_token import ClientSubscriptionToken
from .._telemetry.secret_struct import SecretStruct
from ..arguments import check_text
from ..errors import AuthenticationError, ConfigurationError
from ..settings import SettingsArguments, settings_problem


class SubscriptionKey(SecretStruct, frozen=True):
    """A token minted elsewhere and the address of the Inngest that it is for; None each where it is not given.

    Attributes:
        problem: What is wrong with what was given. It is raised later, from frames that no longer hold the token:
            error reports show local variables.
    """

    key: str | None = None
    api_base_url: str | None = None
    problem: ConfigurationError | None = None

    def __repr__(self) -> str:
        return f"SubscriptionKey(api_base_url={self.api_base_url!r})"

    @classmethod
    def of(cls, key: Any, token: Any, api_base_url: str | None) -> SubscriptionKey:
        """What the arguments `key`, `token` and `api_base_url` of `subscribe()` say together. Raises nothing."""
        if isinstance(token, cls):
            return token
        try:
            address = check_text("api_base_url", api_base_url)
            if (problem := settings_problem(None, SettingsArguments(api_base_url=address))) is not None:
                return cls(problem=problem)
            if token is None:
                if not (check_text("key", key) or "").isascii():
                    raise ConfigurationError("key holds characters that no token has: pass the `key` of one as it is.")
                return cls(key, address)
            if key is not None:
                raise ConfigurationError("key and token are both given: pass one of them.")
            if isinstance(token, str):
                raise ConfigurationError("token is a str: pass it as key=, or the token object or its dict as token=.")
            parsed = ClientSubscriptionToken.parse(token)
            return cls.of(parsed.key, None, address or parsed.api_base_url or None)
        except ConfigurationError as error:
            return cls(problem=error.with_traceback(None))

    def require(self) -> None:
        """Raise what is wrong with what was given."""
        if self.problem is not None:
            raise self.problem

    def check(self, channel: str, topics: Collection[str], *, url: str) -> None:
        """Refuse a token that has expired or does not cover the topics, which Inngest would serve with silence.

        Args:
            url: Where the token would be used, for the error.

        Raises:
            AuthenticationError: Its claims say so. A token whose claims cannot be read is for Inngest to judge.
        """
        claims = None if self.key is None else read_claims(self.key)
        if claims is None:
            return
        if claims.expires_at is not None and claims.expires_at <= datetime.now(timezone.utc):
            raise AuthenticationError(
                f"The token expired at {claims.expires_at:%H:%M:%S} UTC; it lives for a minute. Mint another.",
                url=url,
            )
        covered = {claim.name for claim in claims.topics if claim.channel == channel and claim.kind == "run"}
        missing = [topic for topic in topics if topic not in covered]
        if missing:
            what = ", ".join(sorted({f"{claim.channel}: {claim.name}" for claim in claims.topics})[:10]) or "nothing"
            raise AuthenticationError(
                f"The token does not cover {', '.join(map(repr, missing))} of channel {channel!r}; it is for {what}. "
                "Mint it for the channel and topics that are subscribed to.",
                url=url,
            )
