"""Signing requests to Inngest with the digest of the signing key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
import msgspec

from ..settings import Settings, hash_signing_key
from ..version import USER_AGENT
from .http import TIMEOUT, HttpRequest, HttpResponse, send

REFUSED = frozenset({401, 403})


def authorizations(settings: Settings) -> Iterator[Mapping[str, str]]:
    """The headers to try, in this order: those of the signing key (empty without one), then of the fallback key."""
    settings.require_signing_key()
    # No variable holds a key: error reports show them.
    if settings.signing_key is None:
        yield {}
    else:
        yield {"authorization": f"Bearer {hash_signing_key(settings.signing_key)}"}
    if settings.signing_key_fallback is not None:
        yield {"authorization": f"Bearer {hash_signing_key(settings.signing_key_fallback)}"}


def base_headers(settings: Settings, content_type: str) -> dict[str, str]:
    """The headers that every request has."""
    headers = {"content-type": content_type, "user-agent": USER_AGENT}
    if settings.env is not None:
        headers["x-inngest-env"] = settings.env
    return headers


def sign(request: HttpRequest, authorization: Mapping[str, str]) -> HttpRequest:
    """The same request with these headers added."""
    return msgspec.structs.replace(request, headers={**request.headers, **authorization})


async def send_signed(
    http: httpx.AsyncClient, settings: Settings, request: HttpRequest, *, timeout: float = TIMEOUT
) -> tuple[HttpRequest, HttpResponse]:
    """Send with the signing key and, when that is refused, once more with the fallback key.

    Returns the request that was sent last, with its response.
    """
    attempts = [sign(request, authorization) for authorization in authorizations(settings)]
    for attempt in attempts[:-1]:
        response = await send(http, attempt, timeout=timeout)
        if response.status not in REFUSED:
            return attempt, response
    return attempts[-1], await send(http, attempts[-1], timeout=timeout)
