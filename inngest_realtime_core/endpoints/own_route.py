"""A token, or an open subscription, for a route of an application's own: what the helpers of every framework obtain."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, cast

from ..realtime import Realtime
from .authorize import Host
from .endpoints import Endpoints
from .grants import Grant
from .request import EndpointRequest
from .routes import check_own_stream

_T = TypeVar("_T")


class OwnRoute:
    """What the helpers for routes of one's own obtain for one: `token`, or `stream`, an open subscription."""

    def __init__(self, name: Literal["token", "stream"], realtime: Realtime, grant: Grant, host: Host) -> None:
        if name == "stream":
            check_own_stream(grant)
        endpoints = Endpoints(realtime, [grant], host=host)
        self.name = name
        self._grant = grant.name
        self._obtain: Any = endpoints.issue if name == "token" else endpoints.subscribe
        self._obtain_sync: Any = endpoints.issue_sync if name == "token" else endpoints.subscribe_sync

    async def obtain(self, request: EndpointRequest) -> Any:
        """Authorizes the request, and returns a token for it, or a subscription.

        Raises:
            EndpointError: There is nothing for it.
        """
        return await self._obtain(self._grant, request)

    def obtain_sync(self, request: EndpointRequest) -> Any:
        """The sync twin of `obtain`."""
        return self._obtain_sync(self._grant, request)

    def finish(self, response: _T) -> _T:
        """Returns the response of the view, which is not cached where it has a token, unless it says otherwise."""
        if self.name == "token":
            cast("Any", response).headers.setdefault("Cache-Control", "no-store")
        return response
