"""What the parts of one running server share: who may enter, who listens, and how the server is told to misbehave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .broker import Broker, Connection
from .frames import Frame
from .tokens import Authority

__all__ = ["Node"]


@dataclass
class Node:
    """The state of one server.

    Attributes:
        registration_delay: Seconds between the response to a connect (or a `sub` frame) and its subscription.
        keepalive: Seconds between the server's pings.
        sse_lifetime: Seconds after which an SSE response ends.
        allow_remote: Whether others than this machine may call.
        token_status: The status with which token requests are rejected, or None.
        token_channel: The channel for which they are, or None for any.
        connect_status: The status with which connects are rejected, or None.
        publish_status: The status with which publishes are rejected, or None.
        refuses_new: Whether new connections are dropped right after the upgrade, as a closing server does.
    """

    authority: Authority
    registration_delay: float
    keepalive: float
    sse_lifetime: float = 900.0
    allow_remote: bool = False
    broker: Broker = field(default_factory=Broker)
    connections: dict[Connection, None] = field(default_factory=dict[Connection, None])
    connects: int = 0
    token_requests: int = 0
    pings: int = 0
    token_status: int | None = None
    token_channel: str | None = None
    connect_status: int | None = None
    publish_status: int | None = None
    refuses_new: bool = False
    _departures: set[asyncio.TimerHandle] = field(default_factory=set[asyncio.TimerHandle])

    def reset(self) -> None:
        """Forget what was counted and recorded, and end every simulated fault. Open connections stay."""
        self.connects = self.token_requests = self.pings = self.broker.publishes = 0
        self.broker.record.clear()
        self.token_status = self.token_channel = self.connect_status = self.publish_status = None
        self.refuses_new = False
        for connection in list(self.connections):
            if connection.frozen:
                connection.drop()

    def join(self, connection: Connection) -> None:
        """Count a connection as open."""
        self.connects += 1
        self.connections[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self.connections.pop(connection, None)
        self.broker.unsubscribe(connection)

    def announce(self, frame: Frame, grace: float) -> None:
        """Send `frame` to all who are connected now, and end their connections `grace` seconds later."""
        leaving = list(self.connections)
        for connection in leaving:
            connection.deliver(frame)

        def depart() -> None:
            self._departures.discard(timer)
            for connection in leaving:
                connection.finish()

        timer = asyncio.get_running_loop().call_later(grace, depart)
        self._departures.add(timer)

    def forget_departures(self) -> None:
        """Cancel what `announce` has planned, since the server stops before."""
        for timer in self._departures:
            timer.cancel()
        self._departures.clear()
