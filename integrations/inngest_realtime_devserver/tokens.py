"""Who may do what: subscription tokens (JWTs) and signing keys (PROTOCOL.md section 1)."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Sequence

import jwt
import msgspec

from inngest_realtime_core.errors import ConfigurationError

from .identifiers import ACCOUNT_ID, ENVIRONMENT_ID, new_ulid

__all__ = ["Authority", "Claims", "TopicEntry"]

_ISSUER = "rt.inngest.com"
_KEY_PREFIX = re.compile(r"^signkey-\w+-")
_BEARER = re.compile(r"^Bearer ", re.IGNORECASE)


class TopicEntry(msgspec.Struct, frozen=True):
    """One topic, as token requests, claims and `unsub` frames name it. Missing values are empty, as in Go."""

    kind: str | None = ""
    env_id: str | None = ""
    channel: str | None = ""
    name: str | None = ""

    @property
    def key(self) -> tuple[str, str] | None:
        """(channel, topic) when messages can reach this entry, which only those of kind "run" are, else None."""
        if self.kind != "run" or self.env_id != ENVIRONMENT_ID:
            return None
        return self.channel or "", self.name or ""


class Claims(msgspec.Struct, frozen=True):
    """What a valid token says."""

    exp: float
    topics: tuple[TopicEntry, ...] | None = ()

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The (channel, topic) pairs that the token covers."""
        return tuple(key for entry in self.topics or () if (key := entry.key) is not None)


class Authority:
    """Mints and checks tokens, and checks signing keys.

    Args:
        signing_key: `signkey-<env>-<hex>` or its bare hex part; None accepts every request, as the dev server does.
        signing_key_fallback: A second key that is accepted too.
        token_ttl: Seconds for which a new token is valid.

    Raises:
        ConfigurationError: A signing key is not hexadecimal.
    """

    def __init__(self, *, signing_key: str | None, signing_key_fallback: str | None, token_ttl: float) -> None:
        keys = [key for key in (signing_key, signing_key_fallback) if key is not None]
        self._digests = [_hash(key) for key in keys]
        self._token_ttl = token_ttl
        # The same for every server with the same keys, so that a token survives a restart.
        self._secret = hashlib.sha256("/".join(["inngest-realtime", *self._digests]).encode()).digest()

    @property
    def requires_key(self) -> bool:
        """Whether requests need a signing key (`inngest start`) or not (`inngest dev`)."""
        return bool(self._digests)

    def allows(self, authorization: str) -> bool:
        """Whether the value of an Authorization header carries an accepted hashed signing key, or none is needed."""
        if not self._digests:
            return True
        given = _KEY_PREFIX.sub("", _BEARER.sub("", authorization)).encode()
        return any(hmac.compare_digest(given, digest.encode()) for digest in self._digests)

    def mint(self, entries: Sequence[TopicEntry | None]) -> str:
        """A new subscription token for `entries`, with the claims in Inngest's order."""
        now = time.time()
        issued_at = int(now)
        whole = float(self._token_ttl).is_integer()
        claims = {
            "iss": _ISSUER,
            "sub": ACCOUNT_ID,
            "exp": issued_at + int(self._token_ttl) if whole else now + self._token_ttl,
            "iat": issued_at,
            "jti": new_ulid(),
            "env": ENVIRONMENT_ID,
            "topics": [
                {
                    "kind": entry.kind or "",
                    "env_id": ENVIRONMENT_ID,
                    "channel": entry.channel or "",
                    "name": entry.name or "",
                }
                for entry in (entry or TopicEntry() for entry in entries)
            ],
            "publish": False,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def verify(self, token: str) -> Claims | None:
        """The claims of `token`, or None when it is missing, malformed, expired or signed by somebody else."""
        # Expiry is compared here: PyJWT cuts it to whole seconds, and tests use shorter lives.
        options = {"verify_exp": False, "verify_iat": False, "verify_aud": False, "require": ["exp"]}
        try:
            payload = jwt.decode(token, self._secret, algorithms=["HS256"], issuer=_ISSUER, options=options)  # type: ignore[arg-type]
            claims = msgspec.convert(payload, Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError, UnicodeError, RecursionError):
            return None
        return claims if time.time() < claims.exp else None

    def claims_of(self, authorization: str, token: str) -> Claims | None:
        """The claims a request carries. A header longer than 8 characters wins over the `token` in the query."""
        if len(authorization) > 8:
            token = authorization[len("Bearer ") :]
        return self.verify(token)


def _hash(signing_key: str) -> str:
    try:
        key = bytes.fromhex(_KEY_PREFIX.sub("", signing_key))
    except ValueError as error:
        message = "A signing key is not hexadecimal. Expected `signkey-<env>-<hex>`; copy it again from Inngest."
        raise ConfigurationError(message) from error
    return hashlib.sha256(key).hexdigest()
