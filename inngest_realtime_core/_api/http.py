"""The one seam to httpx: a request goes in, signed or not, a response comes out, or `UnreachableError`.

Redirects are not followed and the client's own `auth` is not used: what is sent is what was built here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Final, NoReturn

import anyio
import httpx
import msgspec

from .._concurrency.tasks import call_after
from .._telemetry.secret_struct import SecretStruct
from ..errors import UnexpectedResponseError, UnreachableError
from ..settings import Settings, hash_signing_key
from ..version import USER_AGENT

REFUSED: Final = frozenset({401, 403})
CONNECT_TIMEOUT = 5.0  # seconds
TIMEOUT = 10.0  # seconds for a whole call, and for one read or write of a streamed one
_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
# Of the steps that httpx tells: those that connect, and those that read, one of which is the whole of a body.
_CONNECTING: Final = ("connect_tcp", "start_tls")
_READING: Final = ("receive_response_headers", "receive_response_body")
_MAX_BODY = (
    16 * 1024 * 1024
)  # bytes; the largest response of the protocol, a token for very long names, has about 2 MiB


class HttpRequest(SecretStruct, frozen=True, eq=False):
    """One request. The repr leaves out the headers, which may hold a signing key's digest, and the content.

    Attributes:
        repeatable: It does no harm twice: it is sent again if the connection breaks before there is a response.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | AsyncIterable[bytes]
    repeatable: bool = False

    def __repr__(self) -> str:
        return f"HttpRequest(method={self.method!r}, url={self.url!r})"

    @property
    def endpoint(self) -> str:
        """The URL without its query: what errors may show."""
        return self.url.partition("?")[0]


class HttpResponse(SecretStruct, frozen=True, eq=False):
    """One response; the names of the headers are in lower case. The repr leaves out the content."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"HttpResponse(status={self.status})"


async def send(http: httpx.AsyncClient, request: HttpRequest, *, timeout: float | None = TIMEOUT) -> HttpResponse:
    """Send `request` and read the whole response.

    Args:
        timeout: Seconds for everything; None bounds only each read and write, for a body that takes its time.

    Raises:
        UnreachableError: No connection, no response in time, or the connection was cut off.
        UnexpectedResponseError: The response is not HTTP, or over 16 MiB.
    """
    with _failures(request, timeout), _Deadlines(timeout).enforced() as deadlines:
        try:
            return await _exchange(http, request, deadlines)
        except _CUT_OFF:
            # Mostly a connection that was kept, and that the server has ended since.
            if not request.repeatable:
                raise
            return await _exchange(http, request, deadlines)


async def _exchange(http: httpx.AsyncClient, request: HttpRequest, deadlines: _Deadlines) -> HttpResponse:
    content = request.content
    built = http.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=_TimedBody(content, deadlines) if isinstance(content, AsyncIterable) else content,
        timeout=None,
        extensions={"trace": deadlines.trace},
    )
    built.url = _QuietURL(built.url)
    response = await http.send(built, stream=True, auth=None, follow_redirects=False)
    async with aclosing(response):
        received = bytearray()
        async for part in response.aiter_bytes():
            received += part
            if len(received) > _MAX_BODY:
                raise UnexpectedResponseError(
                    f"{request.endpoint} responded with over {_MAX_BODY} bytes. Is this an Inngest server?",
                    url=request.endpoint,
                    status=response.status_code,
                )
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpResponse(response.status_code, headers, bytes(received))


class _Deadlines:
    """The time limits of one call.

    httpx's own timers would keep the caller's context for as long as they were set for.

    Args:
        total: Seconds for the whole call; None bounds each read and write.
    """

    def __init__(self, total: float | None) -> None:
        self._total = total
        self._scope = anyio.CancelScope()
        self._assigned = False  # it has a connection of the client's, if only one to be opened
        self._connected = False
        self._cancel_step: Callable[[], object] = bool  # nothing to cancel yet

    @contextmanager
    def enforced(self) -> Generator[_Deadlines, None, None]:
        """Raises `httpx.PoolTimeout`, `httpx.ConnectTimeout` or `TimeoutError` when the time is up."""
        loop = asyncio.get_running_loop()
        cancel_total = bool if self._total is None else call_after(loop, self._total, self._scope.cancel)
        try:
            with self._scope:
                yield self
        finally:
            cancel_total()
            self._cancel_step()
        if self._scope.cancelled_caught:
            if not self._assigned:
                raise httpx.PoolTimeout("")
            raise TimeoutError if self._connected else httpx.ConnectTimeout("")

    def step(self, seconds: float | None) -> None:
        """Called when something begins that may take so long; None when it has ended."""
        self._cancel_step()
        if seconds is not None:
            self._cancel_step = call_after(asyncio.get_running_loop(), seconds, self._scope.cancel)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpx at the beginning and the end of each step, such as `connection.connect_tcp.started`."""
        _, name, what = event.rsplit(".", 2)
        self._assigned = True
        if name in _CONNECTING:
            self.step(CONNECT_TIMEOUT if what == "started" else None)
        elif name == "send_request_headers":
            self._connected = True
        elif self._total is None and name in _READING:
            self.step(TIMEOUT if what == "started" else None)


class _TimedBody(AsyncIterator[bytes]):
    """The parts of a body, each of which may take as long as it wants to be made, and `TIMEOUT` to be sent."""

    def __init__(self, content: AsyncIterable[bytes], deadlines: _Deadlines) -> None:
        self._parts = aiter(content)
        self._deadlines = deadlines

    async def __anext__(self) -> bytes:
        self._deadlines.step(None)
        part = await anext(self._parts)
        self._deadlines.step(TIMEOUT)
        return part


class _QuietURL(httpx.URL):
    """A URL that is written without its query: httpx logs it, and channels and metadata are nobody's business."""

    def __str__(self) -> str:
        return super().__str__().partition("?")[0]


@contextmanager
def _failures(request: HttpRequest, timeout: float | None) -> Generator[None]:
    """Turn httpx's errors into ours. Their texts are not repeated: some quote headers."""
    url = request.endpoint
    try:
        yield
    except httpx.PoolTimeout as error:
        waited = (
            f"it waited for {timeout or TIMEOUT:g} s for other calls of this process, which are made 100 at a time."
        )
        _unreachable(url, f"{waited} Make fewer at once; `batch()` joins many small texts.", error)
    except (TimeoutError, httpx.TimeoutException) as error:
        what = (
            f"no connection within {CONNECT_TIMEOUT:g} s"
            if isinstance(error, httpx.ConnectTimeout)
            else f"no response within {timeout or TIMEOUT:g} s"
        )
        _unreachable(url, f"{what}. Is it the right address, and is the server healthy?", error)
    except httpx.ConnectError as error:
        _unreachable(url, f"no connection ({error}). Is it the right address, and is the server running?", error)
    except (httpx.DecodingError, httpx.RemoteProtocolError) as error:
        if "disconnected" in str(error) or "closed" in str(error):
            _unreachable(url, "the connection was closed before the response was complete.", error)
        raise UnexpectedResponseError(f"{url} responded with something that is not HTTP.", url=url) from error
    except httpx.ProxyError as error:
        _unreachable(url, f"the proxy did not let it pass ({error}). Check what it allows, and its password.", error)
    except httpx.HTTPError as error:
        _unreachable(url, f"the connection failed ({type(error).__name__}).", error)


def _unreachable(url: str, reason: str, error: Exception) -> NoReturn:
    raise UnreachableError(f"{url} did not respond: {reason}", url=url) from error


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
    http: httpx.AsyncClient, settings: Settings, request: HttpRequest
) -> tuple[HttpRequest, HttpResponse]:
    """Send with the signing key and, when that is refused, once more with the fallback key.

    Returns the request that was sent last, with its response.
    """
    attempts = [sign(request, authorization) for authorization in authorizations(settings)]
    for attempt in attempts[:-1]:
        response = await send(http, attempt)
        if response.status not in REFUSED:
            return attempt, response
    return attempts[-1], await send(http, attempts[-1])
