"""The one seam to httpx: a request goes in, a response comes out, or `UnreachableError`.

Redirects are not followed and the client's own `auth` is not used: what is sent is what was built here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Generator, Iterable, Mapping
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import anyio
import httpx

from ..errors import UnexpectedResponseError, UnreachableError

__all__ = ["CONNECT_TIMEOUT", "TIMEOUT", "HttpRequest", "HttpResponse", "send", "send_sync"]

CONNECT_TIMEOUT = 5.0  # seconds
TIMEOUT = 10.0  # seconds for a whole call, and for one read or write of a streamed one
_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_MAX_BODY = (
    16 * 1024 * 1024
)  # bytes; the largest response of the protocol, a token for very long names, has about 2 MiB


@dataclass(frozen=True)
class HttpRequest:
    """One request. The repr leaves out the headers, which may hold a signing key's digest, and the content.

    Attributes:
        repeatable: It does no harm twice: it is sent again if the connection breaks before there is an answer.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | Iterable[bytes] | AsyncIterable[bytes] = field(repr=False)
    repeatable: bool = False

    @property
    def endpoint(self) -> str:
        """The URL without its query: what errors may show."""
        return self.url.partition("?")[0]


@dataclass(frozen=True)
class HttpResponse:
    """One response; the names of the headers are in lower case. The repr leaves out the content."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


async def send(http: httpx.AsyncClient, request: HttpRequest, *, timeout: float | None = TIMEOUT) -> HttpResponse:
    """Send `request` and read the whole response.

    Args:
        timeout: Seconds for everything; None bounds only each read and write, for a body that takes its time.

    Raises:
        UnreachableError: No connection, no answer in time, or the connection was cut off.
        UnexpectedResponseError: The response is not HTTP, or over 16 MiB.
    """
    with _failures(request, timeout), anyio.fail_after(timeout):
        try:
            return await _exchange(http, request)
        except _CUT_OFF:
            # Mostly a connection that was kept, and that the server has ended since.
            if not request.repeatable:
                raise
            return await _exchange(http, request)


async def _exchange(http: httpx.AsyncClient, request: HttpRequest) -> HttpResponse:
    response = await http.send(_build(http, request), stream=True, auth=None, follow_redirects=False)
    async with aclosing(response):
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            _check_size(request, response, content)
    return _read(response, content)


def send_sync(http: httpx.Client, request: HttpRequest, *, timeout: float | None = TIMEOUT) -> HttpResponse:
    """The same as `send`, blocking. The timeout is looked at whenever a part of the body arrives."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with _failures(request, timeout):
        try:
            return _exchange_sync(http, request, deadline)
        except _CUT_OFF:
            if not request.repeatable:
                raise
            return _exchange_sync(http, request, deadline)


def _exchange_sync(http: httpx.Client, request: HttpRequest, deadline: float | None) -> HttpResponse:
    response = http.send(_build(http, request), stream=True, auth=None, follow_redirects=False)
    with closing(response):
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            _check_size(request, response, content)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
    return _read(response, content)


def _build(http: httpx.AsyncClient | httpx.Client, request: HttpRequest) -> httpx.Request:
    built = http.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        timeout=httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
    )
    built.url = _QuietURL(built.url)
    return built


class _QuietURL(httpx.URL):
    """A URL that is written without its query: httpx logs it, and channels and metadata are nobody's business."""

    def __str__(self) -> str:
        return super().__str__().partition("?")[0]


def _read(response: httpx.Response, content: bytearray) -> HttpResponse:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpResponse(response.status_code, headers, bytes(content))


def _check_size(request: HttpRequest, response: httpx.Response, content: bytearray) -> None:
    if len(content) > _MAX_BODY:
        raise UnexpectedResponseError(
            f"{request.endpoint} answered with over {_MAX_BODY} bytes. Is this an Inngest server?",
            url=request.endpoint,
            status=response.status_code,
        )


@contextmanager
def _failures(request: HttpRequest, timeout: float | None) -> Generator[None]:
    """Turn httpx's errors into ours. Their texts are not repeated: some quote headers."""
    url = request.endpoint
    try:
        yield
    except (TimeoutError, httpx.TimeoutException) as error:
        connecting = isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout))
        what = (
            f"no connection within {CONNECT_TIMEOUT:g} s"
            if connecting
            else f"no answer within {timeout or TIMEOUT:g} s"
        )
        _unreachable(url, f"{what}. Is it the right address, and is the server healthy?", error)
    except httpx.ConnectError as error:
        _unreachable(url, f"no connection ({error}). Is it the right address, and is the server running?", error)
    except (httpx.DecodingError, httpx.RemoteProtocolError) as error:
        if "disconnected" in str(error) or "closed" in str(error):
            _unreachable(url, "the connection was closed before the answer was complete.", error)
        raise UnexpectedResponseError(f"{url} answered something that is not HTTP.", url=url) from error
    except httpx.ProxyError as error:
        _unreachable(url, f"the proxy did not let it pass ({error}). Check what it allows, and its password.", error)
    except httpx.HTTPError as error:
        _unreachable(url, f"the connection failed ({type(error).__name__}).", error)


def _unreachable(url: str, reason: str, error: Exception) -> NoReturn:
    raise UnreachableError(f"{url} did not answer: {reason}", url=url) from error
