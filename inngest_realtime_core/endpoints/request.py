"""What an adapter hands over of a request: one value, whatever the framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .parameters import query_parameters
from .selection import resume_point
from .wsgi_threads import is_single_threaded


def no_body(size: int) -> bytes:
    """The `read` of a request without a body."""
    return b""


@dataclass(frozen=True)
class EndpointRequest:
    """One request, as the endpoints need it.

    Attributes:
        method: The HTTP method, in upper case.
        query: The query string, percent-encoded as it was sent. Not in the repr: it may hold what authorizes.
        headers: Header names in lower case -> values. Only `HEADERS` are looked at.
        read: Reads the body: at most so many bytes, fewer only at its end. May be async where the endpoints are.
        native: The framework's own request, handed to `authorize` and `client`. Not in the repr either.
        route: What a route of one's own has read from its path, as (name, value) pairs. None for the endpoints
            themselves, which refuse parameters that nobody declared; a route of one's own has others, too.
        single_threaded: The server answers one request at a time.
    """

    method: str
    query: str = field(repr=False)
    headers: Mapping[str, str]
    native: Any = field(repr=False)
    read: Callable[[int], bytes | Awaitable[bytes]] = field(default=no_body, repr=False)
    route: Sequence[tuple[str, str]] | None = None
    single_threaded: bool = False

    HEADERS = ("content-length", "content-type", "if-none-match", "last-event-id")

    @property
    def last_event_id(self) -> str | None:
        """Where the client left off: the header, or else the query's `lastEventId`."""
        return resume_point(query_parameters(self.query), self.headers.get("last-event-id"))[1]

    @classmethod
    def from_scope(
        cls,
        scope: Mapping[str, Any],
        native: Any,
        read: Callable[[int], bytes | Awaitable[bytes]] = no_body,
        route: Mapping[str, object] | None = None,
    ) -> EndpointRequest:
        """The request of an ASGI scope."""
        headers: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())
        # Bytes, but for Django's AsyncClient, which makes a text of it.
        query: bytes | str = scope.get("query_string", b"")
        return cls(
            scope.get("method", "GET"),
            query if isinstance(query, str) else query.decode("latin-1"),
            {key: value.decode("latin-1") for name, value in headers if (key := name.decode("latin-1")) in cls.HEADERS},
            native,
            read,
            _pairs(route),
        )

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, Any],
        native: Any,
        read: Callable[[int], bytes] = no_body,
        route: Mapping[str, object] | None = None,
    ) -> EndpointRequest:
        """The request of a WSGI environment."""
        headers = {
            name: str(environ[key])
            for name in cls.HEADERS
            for key in (name.upper().replace("-", "_"), f"HTTP_{name.upper().replace('-', '_')}")
            if environ.get(key)
        }
        query = environ.get("QUERY_STRING", "")
        alone = is_single_threaded(environ)
        return cls(environ["REQUEST_METHOD"], query, headers, native, read, _pairs(route), alone)


def _pairs(route: Mapping[str, object] | None) -> list[tuple[str, str]] | None:
    return None if route is None else [(name, str(value)) for name, value in route.items()]
