"""The `Realtime` object: subscribe, mint, publish; from any number of event loops, and from sync code."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn
from weakref import WeakSet

from ._api.client_token import ClientSubscriptionToken
from ._api.settings_source import SettingsSource
from ._concurrency.background import run_sync, run_sync_end
from ._hub.options import HubOptions
from ._hub.sessions import Sessions
from ._replay.log import Replay, SharedReplay
from ._upstream.liveness import Liveness
from .arguments import check_count, check_flag, check_seconds, describe, is_proxy, wrong_argument
from .base import Slots
from .channels.channel import Channel
from .channels.resolve import resolve_channel, resolve_topics
from .errors import ConfigurationError
from .publisher import Publisher
from .settings import HasSettings, InngestApp, SettingsArguments
from .stats import Health, Stats
from .subscriber import Subscriber, Topics


class Realtime(Publisher, Subscriber):
    """Inngest Realtime for one application.

    What is read from the environment is read at the first use, not here.

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
        buffer_bytes: Bytes of payload held for each reader, likewise.
        total_buffer_bytes: Bytes held for all readers together; beyond it those who hold most lose their oldest
            messages, likewise. All `Realtime` objects of a process together hold the largest of their totals.
        linger: Seconds that a channel is kept after its last reader left, so that a page reload loses nothing.
        multiplex: Whether many channels ride on one WebSocket.
        proxy: The proxy for HTTP and WebSocket, `http://host:port`; None follows the environment (`HTTP_PROXY`,
            `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
        replay: What is kept of each channel for web clients that reconnect: `Replay(size=256, max_age=60.0)` in this
            process, or an `inngest_realtime_redis.RedisReplay` for all processes together.

    Raises:
        ConfigurationError: An argument or the app is wrong.
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
        buffer_bytes: int = 8 * 2**20,
        total_buffer_bytes: int = 256 * 2**20,
        linger: float = 30.0,
        multiplex: bool = True,
        proxy: str | None = None,
        replay: Replay | SharedReplay | None = None,
    ) -> None:
        self._source = SettingsSource(
            app,
            SettingsArguments(
                api_base_url=api_base_url,
                client_api_base_url=client_api_base_url,
                signing_key=signing_key,
                signing_key_fallback=signing_key_fallback,
                env=env,
            ),
        )
        unchecked = HubOptions(proxy=proxy)  # whose repr does not show it: an error report may show this variable
        # Error reports show local variables, and an address may hold a password.
        del api_base_url, client_api_base_url, signing_key, signing_key_fallback, proxy
        self._source.check()
        history, wrong = _checked_replay(replay)
        del replay  # it may be an address with a password
        if wrong is not None:
            raise wrong
        if not is_proxy(unchecked.proxy):
            raise ConfigurationError("proxy is not an address: expected http://host:port, https://... or socks5://...")
        options = HubOptions(
            buffer_size=check_count("buffer_size", buffer_size, of="messages"),
            buffer_bytes=check_count("buffer_bytes", buffer_bytes, of="bytes"),
            total_buffer_bytes=check_count("total_buffer_bytes", total_buffer_bytes, of="bytes"),
            linger=check_seconds("linger", linger),
            multiplex=check_flag("multiplex", multiplex),
            proxy=unchecked.proxy,
            replay=history,
            liveness=Liveness(
                check_seconds("ping_interval", ping_interval, least=0.001),
                check_seconds("ping_timeout", ping_timeout, least=0.001),
            ),
        )
        self._sessions = Sessions(options, on_stream=self.install_signal_handlers)
        self._slots: WeakSet[Slots] = WeakSet()

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "A Realtime is neither pickled nor copied. Make it in a module that each process imports, and hand on "
            "names and data alone."
        )

    def __repr__(self) -> str:
        return f"<Realtime {self._source}>"

    @contextmanager
    def override(
        self,
        *,
        api_base_url: str | None = None,
        client_api_base_url: str | None = None,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
        env: str | None = None,
    ) -> Generator[Realtime]:
        """Use other settings until the end of the block, in every thread: an application's own object in a test.

        It holds for a `Realtime` that was in use before, and for those made of it. What was opened meanwhile ends with
        the block. Arguments as for `Realtime`; without `client_api_base_url` browsers are told `api_base_url`.

        Raises:
            ConfigurationError: An argument is wrong.
        """
        given = SettingsArguments(
            api_base_url=api_base_url,
            client_api_base_url=client_api_base_url,
            signing_key=signing_key,
            signing_key_fallback=signing_key_fallback,
            env=env,
        )
        del api_base_url, client_api_base_url, signing_key, signing_key_fallback
        overridden = self._source.override(given)
        del given
        with overridden:
            settings = self.settings
            try:
                yield self
            finally:
                self._sessions.end(settings)

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
            InngestError: Inngest refused, did not respond, or responded with something else.
            ConfigurationError: There is no signing key where one is needed, or the environment is wrong.
        """
        name = resolve_channel(channel).name
        wanted = resolve_topics(channel, topics)
        settings = self.settings
        issued = self._sessions.at(settings).resources().api.tokens
        with self.operation("token", channel=name):
            key = await issued.shared([(name, topic) for topic in wanted])
        return ClientSubscriptionToken(key, settings.client_api_base_url, channel=name, topics=wanted)

    def get_client_subscription_token_sync(
        self, *, channel: Channel | str, topics: Topics | None = None
    ) -> ClientSubscriptionToken:
        """The sync twin of `get_client_subscription_token`. It blocks."""
        return run_sync(lambda: self.get_client_subscription_token(channel=channel, topics=topics))

    # -- the end --------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Numbers for a health page or a metric. Callable from any thread."""
        slots = list(self._slots)
        limits = [each.limit for each in slots if each.limit is not None]
        return self._sessions.stats(
            endpoint_streams=sum(each.used for each in slots),
            max_streams=sum(limits) if limits else None,
        )

    def health(self) -> Health:
        """Whether it can do its work, for the page that a probe asks for. Asks nothing of Inngest; never blocks."""
        return Health.of(self.stats(), shutting_down=self.is_shutting_down)

    def watch_slots(self, slots: Slots) -> None:
        """Lets `stats()` look at how many streams are open of those that may be, while `slots` exists. For adapters."""
        self._slots.add(slots)

    async def continues(self, channel: Channel | str, topics: Topics, event_id: str | None) -> bool:
        """Whether a stream asks for nothing new: its channel is open here, or it has an authentic id. For adapters."""
        name = resolve_channel(channel).name
        return await self._sessions.at(self.settings).continues(name, resolve_topics(channel, topics), event_id)

    def count_endpoint_error(self, code: str) -> None:
        """Counts a request that got neither token nor stream. For adapters."""
        self._sessions.counters().endpoint_error(code)

    @property
    def is_shutting_down(self) -> bool:
        return self._sessions.shutting_down

    def begin_shutdown(self) -> None:
        """End all streams and open no new ones. For hosts that tell of a shutdown; callable from any thread.

        Under uvicorn and other servers that take SIGTERM on the main thread it is called for you. There is no way back:
        a process that outlives the signal (an interrupted notebook) makes a new `Realtime`.
        """
        self._sessions.begin_shutdown()

    def install_signal_handlers(self) -> None:
        """Let SIGTERM, SIGINT and SIGQUIT begin the shutdown, before they do what they did so far.

        The endpoints call it before they subscribe, `realtime_lifespan` at the start, and every stream when it begins.
        Safe to call repeatedly, from any thread.
        """
        # Not before: whoever only mints and publishes has no use for it.
        from ._shutdown.signals import end_streams_on_signals

        end_streams_on_signals(self)

    async def close(self) -> None:
        """End all that runs on this event loop. Returns when no task and no socket of it is left."""
        await self._sessions.close()

    def close_sync(self) -> None:
        """End all that runs on the background event loop. It blocks."""
        run_sync_end(self.close)

    async def __aenter__(self) -> Realtime:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _checked_replay(replay: Replay | SharedReplay | None) -> tuple[Replay | SharedReplay, ConfigurationError | None]:
    """Where messages are kept, and what is wrong with it, without the frame in which it is looked at."""
    if replay is None:
        return Replay(), None
    if isinstance(replay, Replay) or (not isinstance(replay, type) and callable(getattr(replay, "open", None))):
        return replay, None
    return Replay(), wrong_argument("replay", replay, "Replay(...) or RedisReplay(...)")


def check_realtime(realtime: object) -> None:
    """`ConfigurationError` for anything but a `Realtime`."""
    if not isinstance(realtime, Realtime):
        raise ConfigurationError(f"Expected a Realtime, and got {describe(realtime)}: pass the Realtime first.")
