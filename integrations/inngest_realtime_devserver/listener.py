"""A node on a socket: uvicorn's protocol classes without uvicorn's server.

`uvicorn.Server` installs signal handlers, polls, and waits at its end for open connections. An embedded server must
do none of that, and its protocol classes, which are options of `uvicorn.Config`, need none of it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol, cast

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .application import create_application
from .node import Node
from .websocket import WebSocketConnection

__all__ = ["Listener"]

_READABLE_HEAD = 4 * 1024 * 1024  # bytes read of a request's head, so that one too large gets a 431
_STOP_TIMEOUT = 2.0  # seconds given to request handlers after their sockets are gone


class _Socket(Protocol):
    transport: asyncio.Transport


class _State(ServerState):
    stopped = False

    @property
    def sockets(self) -> list[_Socket]:
        return list(cast("set[_Socket]", self.connections))


class _HttpConnection(H11Protocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn's access log would print the tokens in query strings.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        if cast("_State", self.server_state).stopped:  # accepted in the same turn of the loop as the stop
            transport.abort()


class Listener:
    """Accepts connections for `node` from construction until `stop()`."""

    def __init__(self, server: asyncio.Server, state: _State) -> None:
        self._server = server
        self._state = state

    @classmethod
    async def start(cls, node: Node, host: str, port: int) -> Listener:
        """Listen on `host` and `port`, 0 being any free one, on the running event loop.

        Raises:
            OSError: The port is taken, or the address is not one of this machine.
        """
        state = _State()

        def abort_client(client: tuple[str, int] | None) -> None:
            for connection in state.sockets:
                if (connection.transport.get_extra_info("peername") or ())[:2] == client:
                    connection.transport.abort()

        config = Config(
            create_application(node, abort_client),
            http=_HttpConnection,
            ws=WebSocketConnection,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            h11_max_incomplete_event_size=_READABLE_HEAD,
        )
        config.load()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # By address, not by a socket of ours: asyncio turns Nagle's algorithm off only on sockets that it made itself.
        server = await asyncio.get_running_loop().create_server(
            lambda: _HttpConnection(config=config, server_state=state, app_state={}),
            host,
            port,
            family=family,
            backlog=1024,
        )
        return cls(server, state)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Refuse new connections, abort those that are open, and return when nothing of them is left."""
        state = self._state
        state.stopped = True
        self._server.close()
        for connection in state.sockets:
            connection.transport.abort()
        # Handlers notice that their client is gone; cancelling them at once would make uvicorn log an error for each.
        if state.tasks:
            _, stuck = await asyncio.wait(set(state.tasks), timeout=_STOP_TIMEOUT)
            for task in stuck:
                task.cancel()
            if stuck:
                await asyncio.wait(stuck)
        while state.connections:  # noqa: ASYNC110 - aborted transports tell their protocols in the loop's next turn
            await asyncio.sleep(0)
        await self._server.wait_closed()
