"""Who may do what: subscription tokens (JWTs) and signing keys (PROTOCOL.md section 1)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jwt

from .entries import TopicEntry, read_entries
from .identifiers import ACCOUNT_ID, ENVIRONMENT_ID, new_ulid, sealed

__all__ = ["Authority", "Claims", "digests_of"]

_ISSUER = "rt.inngest.com"
_KEY_PREFIX = re.compile(r"^signkey-\w+-")
_BEARER = re.compile(r"^Bearer ", re.IGNORECASE)


class Claims(NamedTuple):
    """What a valid token says: the (channel, topic) pairs that it covers, and whether its holder may publish."""

    keys: tuple[tuple[str, str], ...]
    publish: bool
    topics: int  # how many it names, those that no message can reach included
    own: bool  # this server has minted it


class Authority:
    """Mints and checks tokens, and checks signing keys.

    Args:
        digests: Of the signing keys that are accepted; with none every request is, as by the dev server.
        token_ttl: Seconds for which a new token is valid.
        strict: False: a subscription token mints tokens for any channel, and all servers accept each other's tokens.
    """

    def __init__(self, digests: Sequence[str] = (), *, token_ttl: float = 60.0, strict: bool = True) -> None:
        self._digests = tuple(digests)
        self._token_ttl = token_ttl
        self._strict = strict
        # The same for every server with the same keys, so that a token survives a restart.
        seed = ["inngest-realtime", *(self._digests if strict else ())]
        self._secret = hashlib.sha256("/".join(seed).encode()).digest()
        # Without keys everybody knows that secret; what this one has made is told by another.
        self._seal = secrets.token_bytes(32)

    @property
    def requires_key(self) -> bool:
        """Whether requests need a signing key (`inngest start`) or not (`inngest dev`)."""
        return bool(self._digests)

    def allows(self, authorization: str) -> bool:
        """Whether the value of an Authorization header carries an accepted hashed signing key, or none is needed."""
        if not self._digests:
            return True
        bearer = _BEARER.sub("", authorization)
        given = _KEY_PREFIX.sub("", bearer).encode()
        if any(hmac.compare_digest(given, digest.encode()) for digest in self._digests):
            return True
        return not self._strict and self.verify(bearer) is not None

    def mint(self, entries: Sequence[TopicEntry] | None, *, publish: bool = False) -> str:
        """A new token for `entries`, with the claims in Inngest's order."""
        now = time.time()
        issued_at = int(now)
        whole = float(self._token_ttl).is_integer()
        topics = None
        if entries is not None:
            topics = [
                {"kind": entry.kind, "env_id": ENVIRONMENT_ID, "channel": entry.channel, "name": entry.name}
                for entry in entries
            ]
        claims = {
            "iss": _ISSUER,
            "sub": ACCOUNT_ID,
            "exp": issued_at + int(self._token_ttl) if whole else now + self._token_ttl,
            "iat": issued_at,
            "jti": sealed(new_ulid(), self._seal),
            "env": ENVIRONMENT_ID,
            "topics": topics,
            "publish": publish,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def verify(self, token: str) -> Claims | None:
        """The claims of `token`, or None when it is missing, malformed, expired or signed by somebody else."""
        # Times are compared here: PyJWT cuts them to whole seconds, and tests use shorter lives.
        options: Any = {"verify_exp": False, "verify_iat": False, "verify_aud": False, "require": ["exp"]}
        try:
            payload = jwt.decode(token, self._secret, algorithms=["HS256"], issuer=_ISSUER, options=options)
            now = time.time()
            if now >= float(payload["exp"]) or float(payload.get("iat") or 0) > now:
                return None
            entries = read_entries(payload.get("topics")) or []
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            return None
        keys = tuple(key for entry in entries if (key := entry.key) is not None)
        jti = str(payload.get("jti")).encode("ascii", "replace").decode()
        own = hmac.compare_digest(jti, sealed(jti, self._seal))
        return Claims(keys, payload.get("publish") is True, len(entries), own)

    def claims_of(self, authorization: str, token: str) -> Claims | None:
        """The claims a request carries. A header longer than 8 characters wins over the `token` in the query."""
        if len(authorization) > 8:
            token = authorization[len("Bearer ") :]
        return self.verify(token)


def digests_of(*signing_keys: str | None) -> list[str] | None:
    """What clients send of each key: the SHA-256 of its bytes. None when one of them is not hexadecimal."""
    try:
        keys = [bytes.fromhex(_KEY_PREFIX.sub("", key)) for key in signing_keys if key]
    except ValueError:
        return None
    return [hashlib.sha256(key).hexdigest() for key in keys]
