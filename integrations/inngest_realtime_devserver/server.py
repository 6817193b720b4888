"""The server that programs and tests start: `DevServer`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from anyio.from_thread import start_blocking_portal
from typing_extensions import Self

from inngest_realtime_core.channels.channel import Channel, Topic, TopicRef
from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.messages.message import Message

from .broker import Broker
from .entries import TopicEntry
from .faults import Faults
from .frames import Frame
from .identifiers import ENVIRONMENT_ID
from .listener import Listener
from .node import Node
from .options import check_options
from .published import messages_of
from .tokens import Authority, digests_of

__all__ = ["DevServer", "Stats"]

T = TypeVar("T")


@dataclass(frozen=True)
class Stats:
    """Counts of one server since it was constructed.

    Attributes:
        open_connections: WebSocket and SSE connections open now.
        connects: Connections ever accepted.
        token_requests: Requests for tokens, refused ones included.
        publishes: Messages and data streams published.
        subscriptions: Registered pairs of a connection and a topic, now.
        pings: WebSocket pings received from clients.
    """

    open_connections: int
    connects: int
    token_requests: int
    publishes: int
    subscriptions: int
    pings: int


class DevServer(Faults):
    """An Inngest Realtime server for development and tests, on a real socket.

    It behaves as PROTOCOL.md describes. It installs no signal handlers and leaves nothing behind. Every method may
    be called from the server's own event loop and from any other thread. Entering it again after it was left
    restarts it on the same port.

        async with DevServer() as server:      # on the running event loop
            ...
        with DevServer().in_thread() as server:  # on a thread and loop of its own
            ...

    Args:
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        signing_key: `signkey-<env>-<hex>`; without it every request is accepted, as `inngest dev` does.
        signing_key_fallback: A second key that is accepted too.
        registration_delay: Seconds between the response to a connect (or a `sub`) and its subscription. A ping of the
            client gets its pong after the registration only, as in Inngest.
        keepalive: Seconds between the server's pings.
        token_ttl: Seconds for which a token is valid.
        closing_grace: Seconds for which connections live on after `begin_closing()`.
        strict: False: a subscription token mints tokens for any channel, and servers accept each other's tokens, as
            `inngest start` was seen to do.
        allow_remote: Whether `host` may be another address than loopback, and requests come with any Host and Origin.
        record: How many published messages, chunks of data streams included, `published()` knows; at most 64 MiB.

    Raises:
        ConfigurationError: An option is out of bounds, or a signing key is not hexadecimal.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
        registration_delay: float = 0.0,
        keepalive: float = 15.0,
        token_ttl: float = 60.0,
        closing_grace: float = 300.0,
        strict: bool = True,
        allow_remote: bool = False,
        record: int = 10_000,
    ) -> None:
        digests = digests_of(signing_key, signing_key_fallback)
        del signing_key, signing_key_fallback  # so that no error report shows them
        if digests is None:
            raise ConfigurationError(
                "A signing key is not hexadecimal. Expected `signkey-<env>-<hex>`; copy it again from Inngest."
            )
        check_options(
            host=host,
            port=port,
            allow_remote=allow_remote,
            registration_delay=registration_delay,
            keepalive=keepalive,
            token_ttl=token_ttl,
            closing_grace=closing_grace,
        )
        self._host = host
        self._port = port
        self._closing_grace = closing_grace
        self._node = Node(
            authority=Authority(digests, token_ttl=token_ttl, strict=strict),
            registration_delay=registration_delay,
            keepalive=keepalive,
            allow_remote=allow_remote,
            broker=Broker(record=record),
        )
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # Where it is

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start when a free one is to be taken."""
        return self._port

    @property
    def url(self) -> str:
        """Its base URL, what `INNGEST_BASE_URL` is set to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def requires_key(self) -> bool:
        """Whether requests need a signing key."""
        return self._node.authority.requires_key

    # Starting and stopping

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    @contextlib.contextmanager
    def in_thread(self) -> Generator[Self, None, None]:
        """Run the server on a thread and event loop of its own while the block runs."""
        with start_blocking_portal(name="inngest-realtime-devserver") as portal:
            with portal.wrap_async_context_manager(self):
                yield self

    async def _start(self) -> None:
        if self._loop is not None:
            raise ConfigurationError("This DevServer is running already. Leave it first, or construct another one.")
        self._listener = await Listener.start(self._node, self._host, self._port)
        self._port = self._listener.port
        self._loop = asyncio.get_running_loop()
        self._node.refuses_new = False

    async def _stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._node.forget_departures()
            await listener.stop()
        self._loop = None

    # Watching

    def stats(self) -> Stats:
        """Counts, as of now."""
        node = self._node
        return Stats(
            open_connections=len(node.connections),
            connects=node.connects,
            token_requests=node.token_requests,
            publishes=node.broker.publishes,
            subscriptions=node.broker.subscriptions,
            pings=node.pings,
        )

    def published(
        self, channel: Channel | str | None = None, topic: str | Topic[Any] | TopicRef[Any] | None = None
    ) -> list[Message[Any]]:
        """What was published since the start or the last `reset()`, oldest first. Callable from any thread.

        Args:
            channel: Only on this channel. Of a `Channel`, `data` is what its class declares, so that
                `channel.status.matches(message)` and `message.data.text` work; of a text plain JSON values.
            topic: Only on this topic.

        Raises:
            ChannelError, TopicError: The channel or the topic cannot be one, or the channel does not declare it.
        """
        return messages_of(self._node.broker.record, channel, topic)

    def reset(self) -> None:
        """Forget what was published and counted, and end every fault: as for the next test. Connections stay open."""
        self._there(self._node.reset)

    async def until(self, condition: Callable[[Stats], bool], *, timeout: float = 5.0) -> Stats:
        """Wait until `condition(stats)` holds.

        Raises:
            TimeoutError: It did not hold within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition(stats := self.stats()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The condition did not hold within {timeout} s. The last counts were {stats}.")
            await asyncio.sleep(0.005)
        return stats

    def until_sync(self, condition: Callable[[Stats], bool], *, timeout: float = 5.0) -> Stats:
        """`until()` for code without an event loop; not on the server's own loop."""
        return asyncio.run(self.until(condition, timeout=timeout))

    # Publishing without HTTP

    async def publish(
        self, channel: str, topic: str, data: object, *, run_id: str = "", metadata: str = "", kind: str = "data"
    ) -> None:
        """Publish as `POST publish` does: bytes are the request's body, all else is encoded as JSON.

        Like Inngest's, it waits while a subscriber of the topic has more than about 3 MB unread.

        Args:
            channel: The channel's name.
            topic: The topic's name.
            data: A value that msgspec can encode, or a body.
            run_id: A ULID.
            metadata: JSON text.
            kind: Another kind than `data`, such as `run`, which Inngest documents but does not send today.
        """
        await self._run(self._publish(channel, topic, data, run_id, metadata, kind))

    def publish_sync(
        self, channel: str, topic: str, data: object, *, run_id: str = "", metadata: str = "", kind: str = "data"
    ) -> None:
        """`publish()` for code without an event loop; not on the server's own loop."""
        self._run_sync(self._publish(channel, topic, data, run_id, metadata, kind))

    async def publish_stream(
        self, channel: str, topic: str, chunks: Iterable[str | bytes] | AsyncIterable[str | bytes]
    ) -> None:
        """Publish a data stream, as `POST publish` with `Content-Type: text/stream` does, one read per chunk."""

        async def pieces() -> AsyncIterable[bytes]:
            if isinstance(chunks, AsyncIterable):
                async for chunk in chunks:
                    yield chunk.encode() if isinstance(chunk, str) else chunk
            else:
                for chunk in chunks:
                    yield chunk.encode() if isinstance(chunk, str) else chunk

        await self._run(self._node.broker.publish_stream(channel, topic, pieces()))

    async def inject(self, channel: str, topic: str, text: str | bytes) -> None:
        """Send any text frame to the subscribers of a topic, also one that Inngest would not send."""
        await self._run(self._inject(channel, topic, text))

    def inject_sync(self, channel: str, topic: str, text: str | bytes) -> None:
        """`inject()` for code without an event loop; not on the server's own loop."""
        self._run_sync(self._inject(channel, topic, text))

    async def _inject(self, channel: str, topic: str, text: str | bytes) -> None:
        payload = text.encode() if isinstance(text, str) else text
        await self._node.broker.deliver((channel, topic), Frame(payload))

    async def _publish(self, channel: str, topic: str, data: object, run_id: str, metadata: str, kind: str) -> None:
        body = data if isinstance(data, bytes) else msgspec.json.encode(data)
        await self._node.broker.publish(channel, topic, body, run_id=run_id, metadata=metadata, kind=kind)

    # Tokens

    def issue_token(self, channel: str, topics: Iterable[str], *, publish: bool = False) -> str:
        """A token as `POST token` gives it; with `publish` one whose holder may publish, which that never gives."""
        entries = [TopicEntry("run", ENVIRONMENT_ID, channel, topic) for topic in topics]
        return self._node.authority.mint(entries, publish=publish)
