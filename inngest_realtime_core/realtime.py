"""The `Realtime` object: subscribe, mint, publish; from any number of event loops, and from threads."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import httpx

from ._api import publishing
from ._api.batch import BatchPublishing
from ._api.runs import run_id_or_current
from ._api.steps import StepPublishing
from ._api.tokens import ClientSubscriptionToken
from ._concurrency.background import run_sync
from ._hub.hub import Hub
from ._hub.options import HubOptions, Source
from ._hub.processes import ProcessRegistry
from ._hub.readers import Readers
from ._hub.views import SubscriptionSpec
from ._replay.log import Replay, SharedReplay
from ._shutdown.signals import end_streams_on_signals
from ._upstream.liveness import Liveness
from .channels.channel import Channel, Topic, TopicRef
from .channels.resolve import resolve_channel, resolve_target, resolve_topics
from .errors import ConfigurationError
from .settings import HasSettings, InngestApp, Settings
from .stats import Stats
from .subscriptions.callbacks import OnError, OnMessage, OnState, tell_state
from .subscriptions.subscription import PendingSubscription, Subscription

if TYPE_CHECKING:
    from .subscriptions.sync import SyncSubscription

__all__ = ["Realtime"]

T = TypeVar("T")
Topics = Sequence["str | Topic[Any] | TopicRef[Any]"]


class Realtime(StepPublishing, BatchPublishing):
    """Inngest Realtime for one application.

    Args:
        app: The application's `inngest.Inngest`, or another `Realtime` for its settings; None reads the environment.
        api_base_url: The address of Inngest; see `Settings.resolve` for where it comes from otherwise.
        client_api_base_url: The address of Inngest that browsers are told, when it differs.
        signing_key: `signkey-<env>-<hex>`; the dev server needs none.
        signing_key_fallback: Tried when the signing key is refused.
        env: The branch environment.
        ping_interval: Seconds between two pings on a connection to Inngest.
        ping_timeout: Seconds after which an unanswered ping means that the connection is dead.
        buffer_size: Messages held for each reader; a slower reader loses the oldest and is told with a gap.
        linger: Seconds that a channel is kept after its last reader left, so that a page reload loses nothing.
        multiplex: Whether many channels ride on one WebSocket.
        replay: What is kept of each channel for web clients that reconnect: `Replay(size=256, max_age=60.0)` in this
            process, or an `inngest_realtime_redis.RedisReplay` for all processes together.

    Raises:
        ConfigurationError: An argument, the app or the environment is wrong.
    """

    def __init__(
        self,
        app: InngestApp | HasSettings | None = None,
        *,
        api_base_url: str | None = None,
        client_api_base_url: str | None = None,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
        env: str | None = None,
        ping_interval: float = 10.0,
        ping_timeout: float = 10.0,
        buffer_size: int = 1024,
        linger: float = 30.0,
        multiplex: bool = True,
        replay: Replay | SharedReplay | None = None,
    ) -> None:
        for name, value, least in (
            ("ping_interval", ping_interval, 0.001),
            ("ping_timeout", ping_timeout, 0.001),
            ("buffer_size", buffer_size, 1),
            ("linger", linger, 0),
        ):
            if not value >= least:
                raise ConfigurationError(f"{name}={value!r} is too small: expected at least {least}.")
        self.settings = Settings.resolve(
            app,
            api_base_url=api_base_url,
            client_api_base_url=client_api_base_url,
            signing_key=signing_key,
            signing_key_fallback=signing_key_fallback,
            env=env,
        )
        self._options = HubOptions(
            buffer_size=buffer_size,
            linger=linger,
            multiplex=multiplex,
            replay=replay if replay is not None else Replay(),
            liveness=Liveness(ping_interval, ping_timeout),
        )
        self._registry = ProcessRegistry(self.settings, self._options, on_stream=self.install_signal_handlers)
        self._shutting_down = False

    def __repr__(self) -> str:
        return f"<Realtime {self.settings.api_base_url}>"

    # -- tokens ---------------------------------------------------------------------------------------------------

    async def get_client_subscription_token(
        self, *, channel: Channel | str, topics: Topics | None = None
    ) -> ClientSubscriptionToken:
        """Mint a token with which a browser can subscribe to these topics, and to nothing else, for a minute.

        Equal requests within two seconds share one token: authorize each of them before.

        Args:
            topics: Names or topics; None means all that the channel's class declares.

        Raises:
            ChannelError, TopicError: The channel or a topic is not acceptable.
            InngestError: Inngest refused, did not answer, or answered something else.
            ConfigurationError: There is no signing key where one is needed.
        """
        name = resolve_channel(channel).name
        wanted = resolve_topics(channel, topics)
        token = await self._registry.resources().api.tokens.shared([(name, topic) for topic in wanted])
        return ClientSubscriptionToken(token, self.settings.client_api_base_url)

    def get_client_subscription_token_sync(
        self, *, channel: Channel | str, topics: Topics | None = None
    ) -> ClientSubscriptionToken:
        """`get_client_subscription_token` for threads. It blocks."""
        return run_sync(lambda: self.get_client_subscription_token(channel=channel, topics=topics))

    # -- subscribing ----------------------------------------------------------------------------------------------

    def subscribe(
        self,
        *,
        channel: Channel | str,
        topics: Topics | None = None,
        key: str | None = None,
        api_base_url: str | None = None,
        validate: bool = True,
        gaps: bool = True,
        on_message: OnMessage | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
    ) -> PendingSubscription:
        """Subscribe to topics of a channel. `await` the result, or enter it with `async with`.

        The subscription is open once Inngest is proved to deliver: what is published after that is never lost to a
        race. A lost connection is made again, and a gap says that something may have been missed.

        Args:
            topics: Names or topics; None means all that the channel's class declares.
            key: A token minted elsewhere; used for as long as it is valid.
            api_base_url: Another Inngest than this object's.
            validate: Whether data must fit the type that its topic declares; what does not is logged and left out.
            gaps: Whether messages of kind `gap` say that something may have been missed.
            on_message: Called with each message, one after the other; may be async. What it raises goes to `on_error`.
            on_error: Called with what `on_message` raised, and with what could not be delivered; may be async.
            on_state: Called with `connecting`, `open`, `reconnecting` and `closed` as the connection changes.

        Raises (when awaited or entered):
            ChannelError, TopicError: The channel or a topic is not acceptable.
            InngestError: Inngest refused, did not answer, or answered something else.
            ShuttingDownError: The process is shutting down.
        """
        resolved = resolve_channel(channel)
        spec = SubscriptionSpec(resolved.declaration, resolve_topics(channel, topics), validate)
        source = Source(api_base_url, key)

        async def open_readers() -> Readers:
            hub = self._hub()
            if on_state is not None:
                tell_state(on_state, "connecting")
            try:
                feed = await hub.until_shutdown(hub.open(resolved.name, spec.topics, source))
            except BaseException:
                if on_state is not None:
                    tell_state(on_state, "closed")
                raise
            return Readers(hub, feed, spec, gaps=gaps)

        def finish(subscription: Subscription) -> None:
            if on_state is not None:
                subscription.watch(on_state)
            if on_error is not None:
                # With on_message it is told of the end too, but after the last message.
                subscription.report_to(on_error, end=on_message is None)
            if on_message is not None:
                subscription.deliver_to(on_message, on_error)

        return PendingSubscription(open_readers, finish)

    def subscribe_sync(
        self,
        *,
        channel: Channel | str,
        topics: Topics | None = None,
        key: str | None = None,
        api_base_url: str | None = None,
        validate: bool = True,
        gaps: bool = True,
        on_message: OnMessage | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
    ) -> SyncSubscription:
        """`subscribe` for threads: returns the open subscription; iterate it with `for`.

        Callbacks run on the background event loop that all blocking calls of a process share.
        """
        from .subscriptions.sync import SyncSubscription

        pending = self.subscribe(
            channel=channel,
            topics=topics,
            key=key,
            api_base_url=api_base_url,
            validate=validate,
            gaps=gaps,
            on_message=on_message,
            on_error=on_error,
            on_state=on_state,
        )
        return SyncSubscription.open(pending)

    # -- publishing -----------------------------------------------------------------------------------------------

    @overload
    async def publish(
        self,
        topic: TopicRef[T],
        data: T,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None: ...
    @overload
    async def publish(
        self,
        topic: tuple[Channel | str, str | Topic[Any] | TopicRef[Any]],
        data: Any,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None: ...
    async def publish(
        self,
        topic: TopicRef[Any] | tuple[Channel | str, str | Topic[Any] | TopicRef[Any]],
        data: Any,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None:
        """Publish a message. What Inngest would lose or change silently is refused before it is sent.

        Args:
            topic: A topic of a channel (`channel.status`), or a pair of a channel and a topic's name.
            data: What the topic's type says, or any data that has a JSON form; at most 512 KiB of JSON.
            run_id: The function run's id, a ULID; with `RealtimeMiddleware` that of the run it is called in.
            metadata: A JSON object that goes along.
            id: Identifies the message, at most 200 characters; None makes one. What is published to a topic with the
                same id again, by a retry for instance, reaches the subscribers of this package once.

        Raises:
            PublishError: The data does not fit the topic, has no JSON form, or is too large.
            ChannelError, TopicError: The channel or the topic is not acceptable.
            InngestError: Inngest refused, did not answer, or answered something else.
        """
        target = resolve_target(topic)
        async with self._registry.resources().api.http() as http:
            await publishing.publish(
                http,
                self.settings,
                target.channel,
                target.topic,
                data,
                adapter=target.adapter,
                run_id=run_id_or_current(run_id),
                metadata=metadata,
                id=id,
            )

    @overload
    def publish_sync(
        self,
        topic: TopicRef[T],
        data: T,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None: ...
    @overload
    def publish_sync(
        self,
        topic: tuple[Channel | str, str | Topic[Any] | TopicRef[Any]],
        data: Any,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None: ...
    def publish_sync(
        self,
        topic: TopicRef[Any] | tuple[Channel | str, str | Topic[Any] | TopicRef[Any]],
        data: Any,
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None:
        """`publish` for threads. It blocks."""
        run_id = run_id_or_current(run_id)
        run_sync(lambda: self.publish(cast("Any", topic), data, run_id=run_id, metadata=metadata, id=id))

    async def publish_stream(
        self,
        topic: TopicRef[Any] | tuple[Channel | str, str | Topic[Any] | TopicRef[Any]],
        chunks: Iterable[str] | AsyncIterable[str],
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish a text as a data stream while it comes into being; no character is cut.

        Args:
            topic: A topic of a channel, or a pair of a channel and a topic's name.
            chunks: The parts of the text; at most 1,000 pieces of 1,024 bytes are sent.

        Raises:
            PublishError: The text is too long, or a part is not a text.
            InngestError: Inngest refused, did not answer, or answered something else.
        """
        target = resolve_target(topic)
        async with self._registry.resources().api.http() as http:
            await publishing.publish_stream(
                http,
                self.settings,
                target.channel,
                target.topic,
                chunks,
                run_id=run_id_or_current(run_id),
                metadata=metadata,
            )

    def publish_stream_sync(
        self,
        topic: TopicRef[Any] | tuple[Channel | str, str | Topic[Any] | TopicRef[Any]],
        chunks: Iterable[str],
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """`publish_stream` for threads. It blocks, and takes `chunks` in the calling thread."""
        target = resolve_target(topic)
        with httpx.Client() as http:
            publishing.publish_stream_sync(
                http,
                self.settings,
                target.channel,
                target.topic,
                chunks,
                run_id=run_id_or_current(run_id),
                metadata=metadata,
            )

    # -- the end --------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Numbers for a health page or a metric. Callable from any thread."""
        process = self._registry.process()
        hubs = process.hubs()
        counters = process.counters
        return Stats(
            sockets=sum(hub.sockets for hub in hubs),
            subscriptions=sum(hub.subscriptions for hub in hubs),
            channels=sum(hub.channels for hub in hubs),
            received=counters.received,
            delivered=counters.delivered,
            dropped=counters.dropped,
            gaps=counters.gaps,
            reconnects=counters.reconnects,
        )

    @property
    def is_shutting_down(self) -> bool:
        return self._shutting_down

    def begin_shutdown(self) -> None:
        """End all streams and open no new ones. For hosts that tell of a shutdown; callable from any thread.

        Under uvicorn and other servers that take SIGTERM on the main thread it is called for you. There is no way back:
        a process that outlives the signal (an interrupted notebook) makes a new `Realtime`.
        """
        self._shutting_down = True
        self._registry.end_streams()

    def install_signal_handlers(self) -> None:
        """See to it that SIGTERM, SIGINT and SIGQUIT begin the shutdown, before they do what they did so far.

        The endpoints call it before they subscribe, `realtime_lifespan` at the start, and every stream when it begins.
        Safe to call repeatedly, from any thread.
        """
        end_streams_on_signals(self)

    async def close(self) -> None:
        """End all that runs on this event loop. Returns when no task and no socket of it is left."""
        await self._registry.close()

    def close_sync(self) -> None:
        """End all that runs on the background event loop. It blocks."""
        run_sync(self.close)

    async def __aenter__(self) -> Realtime:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _hub(self) -> Hub:
        hub = self._registry.hub()
        hub.shutting_down = self._shutting_down
        return hub
