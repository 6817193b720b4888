"""What a subscription token says about itself, read without its signing secret and therefore unverified."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import jwt
import msgspec

from ..errors import ConfigurationError


class TopicClaim(msgspec.Struct, frozen=True):
    """One topic that a token opens. Only those of kind `run` ever receive anything."""

    channel: str
    name: str
    kind: str
    env_id: str | None


class TokenClaims(msgspec.Struct, frozen=True):
    """The claims of a subscription token. Nobody has verified them: fit for display and timing, not for decisions
    about who may see what.

    Attributes:
        topics: What the token opens.
        issued_at: When it was made, in UTC.
        expires_at: Until when a connection can be opened with it, in UTC; one minute after `issued_at`.
        env_id: The UUID of the Inngest environment.
        account_id: The UUID of the Inngest account.
        token_id: A ULID.
    """

    topics: tuple[TopicClaim, ...]
    issued_at: datetime | None
    expires_at: datetime | None
    env_id: str | None
    account_id: str | None
    token_id: str | None


def read_claims_unverified(key: str) -> TokenClaims:
    """Read the claims of a subscription token. `ConfigurationError` when `key` is not one; it does not repeat it."""
    claims = read_claims(key)
    del key  # error reports show local variables
    if claims is None:
        raise ConfigurationError(
            "This key is not a subscription token. Pass the `key` that get_client_subscription_token() returned."
        )
    return claims


def read_claims(key: str) -> TokenClaims | None:
    """Read the claims of a subscription token; None when `key` is not one."""
    try:
        payload: dict[str, Any] = jwt.decode(
            key,
            options={"verify_signature": False},  # nor anything else, then
        )
        topics: list[dict[str, Any]] = payload.get("topics") or []
        return TokenClaims(
            topics=tuple(
                TopicClaim(
                    channel=str(topic.get("channel", "")),
                    name=str(topic.get("name", "")),
                    kind=str(topic.get("kind", "")),
                    env_id=_text(topic.get("env_id")),
                )
                for topic in topics
            ),
            issued_at=_time(payload.get("iat")),
            expires_at=_time(payload.get("exp")),
            env_id=_text(payload.get("env")),
            account_id=_text(payload.get("sub")),
            token_id=_text(payload.get("jti")),
        )
    except (jwt.InvalidTokenError, AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time(value: object) -> datetime | None:
    return datetime.fromtimestamp(value, timezone.utc) if isinstance(value, (int, float)) else None
