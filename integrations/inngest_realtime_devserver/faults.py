"""How a server is told to misbehave."""

from __future__ import annotations

from collections.abc import Callable

from . import frames
from .broker import Connection
from .loop import OnLoop
from .node import Node

__all__ = ["Faults"]


class Faults(OnLoop):
    """What an application has to survive, on demand. Every method may be called from any thread.

    Attributes:
        _node: The server's state.
        _closing_grace: Seconds for which connections live on after `begin_closing()`.
    """

    _node: Node
    _closing_grace: float

    async def begin_closing(self, grace: float | None = None, *, accept_new: bool = True) -> None:
        """Announce the server's end: a `closing` frame to every connection, which ends `grace` seconds later.

        Until then it gets all messages; then the stream ends without a close frame. Returns at once.

        Args:
            grace: Seconds; None means `closing_grace`.
            accept_new: True: connections from now on work, as if a successor had taken over the address.
                False: they are dropped right after the upgrade, as the closing server itself does.
        """
        await self._run(self._begin_closing(grace, accept_new))

    def begin_closing_sync(self, grace: float | None = None, *, accept_new: bool = True) -> None:
        """`begin_closing()` for code without an event loop; not on the server's own loop."""
        self._run_sync(self._begin_closing(grace, accept_new))

    async def _begin_closing(self, grace: float | None, accept_new: bool) -> None:
        node = self._node
        node.refuses_new = not accept_new
        node.announce(frames.closing(node.broker.clock.now()), self._closing_grace if grace is None else grace)

    def drop_connections(self, channel: str | None = None) -> None:
        """Cut off all WebSocket and SSE connections, or those whose tokens cover `channel`, without a close frame."""
        self._each(channel, lambda connection: connection.drop())

    def freeze_connections(self, channel: str | None = None) -> None:
        """Leave all connections of now, or those whose tokens cover `channel`, open but dead: no data, no pongs."""
        self._each(channel, lambda connection: connection.freeze())

    def reject_tokens(self, status: int | None, *, channel: str | None = None) -> None:
        """Reject token requests with `status` from now on, or only those that name `channel`; None ends that."""
        self._node.token_status = status
        self._node.token_channel = channel

    def reject_connects(self, status: int | None) -> None:
        """Reject connects and `GET sse` with `status` from now on; None ends that."""
        self._node.connect_status = status

    def reject_publishes(self, status: int | None) -> None:
        """Reject publishes over HTTP with `status` from now on; None ends that."""
        self._node.publish_status = status

    def _each(self, channel: str | None, action: Callable[[Connection], None]) -> None:
        def act() -> None:
            for connection in list(self._node.connections):
                if channel is None or channel in connection.channels:
                    action(connection)

        self._there(act)
