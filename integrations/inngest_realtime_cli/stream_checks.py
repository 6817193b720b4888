"""In front of an event stream: does the first byte arrive at once, do heartbeats, and what does the response say."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import httpx

from .finding import Finding, connection_hint, note, ok, problem

__all__ = ["check_stream"]

_AT_ONCE = 2.0  # seconds in which the first byte has to come
_TOGETHER = 0.05  # seconds within which pieces came as one
_TIMEOUT = 10.0  # seconds for the head of the response
_BUFFERS = (
    "something in front of the application collects the response: nginx (proxy_buffering off), a CDN, compression, or "
    "a middleware of the application itself"
)
_READ_TIMEOUT = (
    "A proxy ends silent responses (nginx: proxy_read_timeout), or the application was stopped: heartbeats have to "
    "come more often than the proxy waits"
)
_GATEWAY = " The proxy does not reach the application: is it running, and is it where the proxy looks for it?"
_LOGIN = " Something in front wants to know who asks: send what a browser would, --header 'Cookie: ...' for example."
_HINTS = {401: _LOGIN, 403: _LOGIN, 502: _GATEWAY, 503: _GATEWAY, 504: _GATEWAY}


async def check_stream(url: str, headers: Sequence[tuple[str, str]], *, wait: float) -> AsyncIterator[Finding]:
    """What is found about the event stream at `url`.

    Args:
        headers: Sent along, beside `Accept: text/event-stream`.
        wait: Seconds for heartbeats.
    """
    timeout = httpx.Timeout(_TIMEOUT, read=max(wait, _TIMEOUT))
    asked = [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip, br"), *headers]
    try:
        if (httpx.URL(url).port or 0) > 65_535:
            raise httpx.InvalidURL("a port is at most 65535")  # httpx leaves that to the operating system
        async with httpx.AsyncClient(timeout=timeout) as http:
            # Not before: to make a client takes a slow machine a while, which is nobody's buffer.
            began = time.monotonic()
            async with http.stream("GET", url, headers=asked) as response:
                async for finding in _examine(response, began, wait):
                    yield finding
    except httpx.ConnectError as error:
        hint = connection_hint(str(error)) or " Is the application running?"
        yield problem("stream", f"there is no connection to {_shown(url)} ({error}).{hint}")
    except httpx.TimeoutException:
        yield problem("stream", f"no response began within {max(wait, _TIMEOUT):g} s: {_BUFFERS}, or it hangs.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": .")
        yield problem("stream", f"the request to {_shown(url)} failed ({reason}).{connection_hint(reason)}")


class _Body(NamedTuple):
    """When its pieces came and it ended, if it did, in seconds since the request; and what came with the first one."""

    arrivals: list[float]
    first: bytes
    ended: float | None


async def _examine(response: httpx.Response, began: float, wait: float) -> AsyncIterator[Finding]:
    content_type = response.headers.get("content-type", "")
    if response.status_code != 200:
        yield problem("stream", f"the response is {response.status_code}{await _reason(response)}")
        return
    if not content_type.startswith("text/event-stream"):
        yield problem("stream", f"its Content-Type is {content_type!r}, not text/event-stream. Is it the stream's URL?")
        return
    yield ok("response", f"200 {content_type} after {time.monotonic() - began:.2f} s.")
    if encoding := response.headers.get("content-encoding"):
        yield problem(
            "compression", f"the stream is compressed ({encoding}), which delays it. Exempt text/event-stream."
        )
    if length := response.headers.get("content-length"):
        yield problem(
            "buffering", f"the response has a Content-Length ({length}), so it was collected as a whole: {_BUFFERS}."
        )
    body = await _read(response, began, wait)
    if not body.arrivals:
        text = (
            f"none came within {wait:g} s" if body.ended is None else f"it ended after {body.ended:.1f} s without one"
        )
        yield problem("first byte", f"{text}, and it should come at once: {_BUFFERS}.")
        return
    yield _first_byte(body)
    yield _heartbeats(body, wait)


def _first_byte(body: _Body) -> Finding:
    first = body.arrivals[0]
    if first <= _AT_ONCE:
        return ok("first byte", f"after {first:.2f} s.")
    # Heartbeats come after the first event: where they come with it, it was held.
    if len(body.arrivals) > 1 and b"heartbeat" not in body.first:
        return note(
            "first byte",
            f"it came after {first:.1f} s, and what followed as it was sent: nothing collects it. The application took "
            "so long, which answers when Inngest delivers. If that repeats, run the doctor on its machine.",
        )
    return problem("first byte", f"it came after {first:.1f} s, and should come at once: {_BUFFERS}.")


def _heartbeats(body: _Body, wait: float) -> Finding:
    arrivals = body.arrivals
    if body.ended is not None:
        silence = body.ended - arrivals[-1]
        return problem("heartbeats", f"the response ended after {silence:.1f} s of silence. {_READ_TIMEOUT}.")
    later = [arrival for arrival in arrivals if arrival > arrivals[0] + 0.2]
    if later:
        gaps = [after - before for before, after in itertools.pairwise(arrivals)]
        return ok(
            "heartbeats", f"something came {len(later)} times in {wait:g} s; the longest silence was {max(gaps):.1f} s."
        )
    return problem(
        "heartbeats",
        f"nothing came in the {wait:g} s after the first bytes. Either heartbeat= is longer than that (--wait), or "
        f"{_BUFFERS}. Proxies end silent connections, and a client that has gone is noticed late.",
    )


async def _read(response: httpx.Response, began: float, wait: float) -> _Body:
    arrivals: list[float] = []
    pieces: list[bytes] = []

    async def read() -> None:
        async for piece in response.aiter_raw():
            arrivals.append(time.monotonic() - began)
            if arrivals[-1] - arrivals[0] < _TOGETHER:
                pieces.append(piece)

    ended = None
    try:
        await asyncio.wait_for(read(), wait)
        ended = time.monotonic() - began
    except (asyncio.TimeoutError, TimeoutError, httpx.TimeoutException):
        pass
    except (httpx.RemoteProtocolError, httpx.ReadError):
        ended = time.monotonic() - began
    return _Body(arrivals, b"".join(pieces), ended)


async def _reason(response: httpx.Response) -> str:
    if location := response.headers.get("location"):
        return f", and leads to {_shown(location)}: give that address, or the session with --header, if it is a login."
    try:
        content = (await asyncio.wait_for(response.aread(), _TIMEOUT))[:100_000]
        error = json.loads(content)["error"]
        return f" ({error['code']}): {error['message'].rstrip('.')}."
    except (asyncio.TimeoutError, TimeoutError, httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        server = response.headers.get("server")
        hint = _HINTS.get(response.status_code, "")
        return f", and not of this package's endpoints{f' (server: {server})' if server else ''}.{hint}"


def _shown(url: str) -> str:
    """The address without what may authorize: its query, and the user and password in front of the host."""
    return re.sub(r"//[^/]*@", "//", re.split("[?#]", url)[0])
