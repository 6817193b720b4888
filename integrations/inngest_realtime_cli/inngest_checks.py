"""Between this machine and Inngest: the address, the key, the clock, proxies, the WebSocket, and a delivery."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from inngest_realtime_core._api.client_token import ClientSubscriptionToken
from inngest_realtime_core._api.proxies import proxy_for
from inngest_realtime_core.errors import (
    AuthenticationError,
    ConfigurationError,
    InngestError,
    RealtimeError,
    UnreachableError,
)
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_core.settings import Settings

from .finding import Finding, Level, connection_hint, note, ok, problem

__all__ = ["check_inngest"]

_TOPIC = "doctor"
_SKEW = 5.0  # seconds that a clock may be off
_SLOW = 2.0  # seconds for a delivery
_DELIVERY = 10.0  # seconds after which it is taken for lost
_CONNECT = 5.0  # seconds for a connection to the proxy
_NOT_WELL = (429, 500, 502, 503, 504)  # what Inngest, or a gateway in front of it, responds with in trouble
_VARIABLES = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV")
_PORTS = {"http": 80, "https": 443}  # of proxies; SOCKS has 1080
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


async def check_inngest(realtime: Realtime, *, given: bool = False) -> AsyncIterator[Finding]:
    """What is found, in the order in which one thing needs the other; ends with the first that is in the way.

    Args:
        given: Whether the address comes from the command line.
    """
    try:
        settings = realtime.settings
        yield _address(settings, given)
        settings.require_signing_key()
    except ConfigurationError as error:
        yield problem("settings", str(error))
        return
    yield _key(settings)
    try:
        proxy = _proxy(settings)
    except ConfigurationError as error:
        yield problem("proxy", str(error))
        return
    if proxy is None:
        yield ok("proxy", f"none is used for {urlsplit(settings.api_base_url).hostname}.")
    else:
        found = await _reach(proxy, settings)
        yield found
        if found.level is Level.PROBLEM:
            return
    channel = f"inngest-realtime-doctor:{secrets.token_hex(8)}"
    try:
        # The first request waits for this process as well; the second one shows Inngest's time.
        await realtime.get_client_subscription_token(channel=channel, topics=["first"])
        began = time.time()
        token = await realtime.get_client_subscription_token(channel=channel, topics=[_TOPIC])
    except RealtimeError as error:
        yield _token_problem(error, settings, proxy)
        return
    ended = time.time()
    yield ok("token", f"Inngest gave one within {(ended - began) * 1000:.0f} ms.")
    if settings.signing_key is not None and settings.signing_key_fallback is not None:
        yield await _each_key(settings, channel)
    yield _clock(token, began, ended)
    async for finding in _delivery(realtime, channel):
        yield finding


def _address(settings: Settings, given: bool) -> Finding:
    source = next((name for name in _VARIABLES if os.environ.get(name, "").strip()), None)
    source = "--api-base-url" if given else source
    where = f", from {source}" if source else ", the default: none of " + ", ".join(_VARIABLES) + " is set"
    client = settings.client_api_base_url
    browsers = "" if client == settings.api_base_url else f" Browsers are told {client}."
    return ok("address", f"{settings.api_base_url}{where}.{browsers}")


def _key(settings: Settings) -> Finding:
    if settings.signing_key is None:
        return note("key", "INNGEST_SIGNING_KEY is not set. A dev server needs none; Inngest's cloud does.")
    fallback = ", and one to fall back to" if settings.signing_key_fallback else ""
    return ok("key", f"there is a signing key{fallback}.")


def _proxy(settings: Settings) -> SplitResult | None:
    found = proxy_for(settings.api_base_url, None)
    if found is None:
        return None
    proxy = urlsplit(found)
    try:
        valid = bool(proxy.hostname) and proxy.port != 0
    except ValueError:
        valid = False
    if not valid:
        # Without its address, which may hold a password.
        raise ConfigurationError("The proxy of the environment has no valid host and port: http://host:port.")
    return proxy


async def _reach(proxy: SplitResult, settings: Settings) -> Finding:
    host, port = proxy.hostname or "", proxy.port or _PORTS.get(proxy.scheme, 1080)
    named = f"the environment names {host}:{port} for {urlsplit(settings.api_base_url).hostname}"
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _CONNECT)
    except (OSError, asyncio.TimeoutError, TimeoutError) as error:
        why = str(error) or f"no response within {_CONNECT:g} s"
        return problem(
            "proxy",
            f"{named}, and there is no connection to it ({why}). Set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to the right "
            "address, or name Inngest's host in NO_PROXY.",
        )
    writer.close()
    return note("proxy", f"{named}. It must let WebSockets pass; NO_PROXY exempts hosts.")


def _token_problem(error: RealtimeError, settings: Settings, proxy: SplitResult | None) -> Finding:
    if isinstance(error, AuthenticationError) and error.by_inngest:
        if settings.signing_key is None:
            return problem("key", str(error))
        return problem(
            "key",
            f"{error} The signing key is not that of this Inngest, or of this environment: compare INNGEST_SIGNING_KEY "
            "and INNGEST_ENV with its dashboard.",
        )
    if isinstance(error, InngestError) and error.status == 407:
        return problem("proxy", str(error))
    if isinstance(error, InngestError) and proxy is not None:
        return problem(
            "proxy",
            f"{error} The request went through the proxy {proxy.hostname} and did not get past it: ask it to let "
            f"{urlsplit(settings.api_base_url).hostname} pass, or name that host in NO_PROXY.",
        )
    if isinstance(error, UnreachableError):
        return problem("address", f"{error}{_hint(str(error), settings)}")
    if isinstance(error, InngestError) and error.status is not None and error.status in _NOT_WELL:
        return problem("Inngest", f"{error} The address responds: Inngest, or a gateway in front of it, is not well.")
    if isinstance(error, InngestError) and "/v1" in urlsplit(settings.api_base_url).path:
        return problem("address", f"{error} The address is to end before /v1, which is added to it.")
    if isinstance(error, InngestError):
        return problem("address", f"{error} Something that is not Inngest responds at this address.")
    return problem("settings", str(error))


def _hint(text: str, settings: Settings) -> str:
    if hint := connection_hint(text):
        return hint
    local = urlsplit(settings.api_base_url).hostname in _LOOPBACK
    return " From a container, 127.0.0.1 is the container itself." if local else ""


class _As(NamedTuple):
    """Settings for a `Realtime` that looks at nothing else."""

    settings: Settings


async def _each_key(settings: Settings, channel: str) -> Finding:
    """Whether each of the two keys is accepted by itself: a rotation that is not finished shows nowhere else."""
    refused: list[str] = []
    for name, key in (
        ("INNGEST_SIGNING_KEY", settings.signing_key),
        ("INNGEST_SIGNING_KEY_FALLBACK", settings.signing_key_fallback),
    ):
        alone = msgspec.structs.replace(settings, signing_key=key, signing_key_fallback=None)
        async with Realtime(_As(alone), linger=0) as realtime:
            try:
                await realtime.get_client_subscription_token(channel=channel, topics=[_TOPIC])
            except RealtimeError:
                refused.append(name)
    if not refused:
        return ok("keys", "Inngest takes both.")
    return note("keys", f"Inngest does not take {refused[0]}, only the other one. Finish the rotation of the keys.")


def _clock(token: ClientSubscriptionToken, began: float, ended: float) -> Finding:
    try:
        issued_at = token.read_claims_unverified().issued_at
    except RealtimeError:
        return note("clock", "the token says nothing of the time.")
    issued = None if issued_at is None else issued_at.timestamp()
    if issued is None:
        return note("clock", "the token says nothing of the time.")
    # Tokens are dated in whole seconds.
    skew = began - issued if issued < began - 1 else ended - issued if issued > ended else 0.0
    if abs(skew) <= _SKEW:
        return ok("clock", "it agrees with Inngest's.")
    return problem(
        "clock",
        f"this machine's is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Inngest's. Tokens live for 60 s, "
        "so they seem to have expired, or not to be valid yet. Set the clock (NTP).",
    )


async def _delivery(realtime: Realtime, channel: str) -> AsyncIterator[Finding]:
    began = time.monotonic()
    try:
        subscription = await realtime.subscribe(channel=channel, topics=[_TOPIC])
    except AuthenticationError as error:
        yield problem("WebSocket", f"{error} A token was had over HTTP, and is not taken: is this clock right?")
        return
    except RealtimeError as error:
        yield problem(
            "WebSocket",
            f"{error} A token could be had over HTTP, and a WebSocket cannot be opened: something between this machine "
            "and Inngest does not let WebSockets pass. A reverse proxy must hand on Upgrade and Connection, a forward "
            "proxy must allow CONNECT.",
        )
        return
    try:
        yield ok("WebSocket", f"open, and proved to be subscribed, within {_milliseconds(began)} ms.")
        began = time.monotonic()
        try:
            await realtime.publish((channel, _TOPIC), "doctor")
        except RealtimeError as error:
            yield problem("publish", str(error))
            return
        try:
            message = await asyncio.wait_for(anext(subscription, None), _DELIVERY)
        except (asyncio.TimeoutError, TimeoutError):
            message = None
        if message is None or message.kind != "data":
            yield problem(
                "delivery",
                f"a message was published, and did not arrive within {_DELIVERY:g} s. Are several Inngest servers "
                "behind this address that do not share their state?",
            )
        elif (took := time.monotonic() - began) > _SLOW:
            yield problem("delivery", f"a message took {took:.1f} s from publish to arrival: something holds it up.")
        else:
            yield ok("delivery", f"a message took {_milliseconds(began)} ms from publish to arrival.")
    finally:
        await subscription.close()


def _milliseconds(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f}"
