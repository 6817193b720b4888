"""The subscribing methods of `Realtime`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ._api.client_token import ClientSubscriptionToken
from ._hub.options import Source
from ._hub.readers import Readers
from ._hub.views import SubscriptionSpec
from .arguments import Rewind, check_callable, check_flag, check_rewind
from .base import RealtimeBase
from .channels.channel import Channel, Topic, TopicRef
from .channels.resolve import resolve_channel, resolve_declared
from .subscriptions.callbacks import OnError, OnMessage, OnState, attach_callbacks, tell_state
from .subscriptions.key import SubscriptionKey
from .subscriptions.pending import PendingSubscription, open_sync
from .subscriptions.sync import SyncSubscription

Topics = Sequence[str | Topic[Any] | TopicRef[Any]]
Token = ClientSubscriptionToken | Mapping[str, Any]


class Subscriber(RealtimeBase):
    """Opens subscriptions."""

    def subscribe(
        self,
        *,
        channel: Channel | str,
        topics: Topics | None = None,
        key: str | None = None,
        token: Token | None = None,
        api_base_url: str | None = None,
        validate: bool = True,
        gaps: bool = True,
        rewind: Rewind | None = None,
        on_message: OnMessage | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
    ) -> PendingSubscription:
        """Subscribe to topics of a channel. `await` the result, or enter it with `async with`.

        The subscription is open once Inngest is proved to deliver: what is published after that is never lost to a
        race. A lost connection is made again, and a gap says that something may have been missed.

        Args:
            topics: Names or topics; None means all that the channel's class declares. What has a type is validated.
            key: A token minted elsewhere; used for as long as it is valid.
            token: The same as a `ClientSubscriptionToken`, or as the dict that the SDKs make of one, address included.
            api_base_url: Another Inngest than this object's.
            validate: Whether data must fit the type that its topic declares; what does not is logged and left out.
            gaps: Whether messages of kind `gap` say that something may have been missed.
            rewind: How many messages of each topic that came before are given first, as far as they are kept; or "all".
            on_message: Called with each message, one after the other; may be async. What it raises goes to `on_error`.
            on_error: Called with what `on_message` raised, and with what could not be delivered; may be async.
            on_state: Called with `connecting`, `open`, `reconnecting` and `closed` as the connection changes.

        Raises:
            ChannelError, TopicError: The channel or a topic is not acceptable.
            ConfigurationError: Another argument is wrong.
            AuthenticationError: `key` or `token` has expired, or is for other topics.
            InngestError: When awaited or entered: Inngest refused, did not respond, or responded with something else.
            ShuttingDownError: When awaited or entered: the process is shutting down.
        """
        given = SubscriptionKey.of(key, token, api_base_url)
        del key, token, api_base_url  # error reports show local variables
        given.require()
        resolved = resolve_channel(channel)
        declared = resolve_declared(channel, topics)
        if given.key is not None:
            given.check(resolved.name, declared, url=self.settings.at(given.api_base_url).url("connect"))
        check_flag("validate", validate)
        check_flag("gaps", gaps)
        check_rewind("rewind", rewind)
        check_callable("on_message", on_message, "def on_message(message): ...")
        check_callable("on_error", on_error, "def on_error(error): ...")
        check_callable("on_state", on_state, "def on_state(state): ...", awaited=False)
        spec = SubscriptionSpec.of(
            resolved.declaration, tuple(declared), validate, tuple(filter(None, declared.values()))
        )
        source = Source(given.api_base_url, given.key)

        async def open_readers() -> Readers:
            hub = self._hub()
            if on_state is not None:
                tell_state(on_state, "connecting")
            try:
                with self.operation("subscribe", channel=resolved.name):
                    feed = await hub.until_shutdown(hub.open(resolved.name, spec.topics, source))
            except BaseException:
                if on_state is not None:
                    tell_state(on_state, "closed")
                raise
            try:
                if rewind is not None:
                    await feed.prepare(spec, rewind)
                readers = Readers(hub, feed, spec, gaps=gaps, rewind=rewind)
                attach_callbacks(readers, on_message=on_message, on_error=on_error, on_state=on_state)
            finally:
                feed.release()
            return readers

        return PendingSubscription(open_readers)

    def subscribe_sync(
        self,
        *,
        channel: Channel | str,
        topics: Topics | None = None,
        key: str | None = None,
        token: Token | None = None,
        api_base_url: str | None = None,
        validate: bool = True,
        gaps: bool = True,
        rewind: Rewind | None = None,
        on_message: OnMessage | None = None,
        on_error: OnError | None = None,
        on_state: OnState | None = None,
    ) -> SyncSubscription:
        """The sync twin of `subscribe`: returns the open subscription; iterate it with `for`.

        Callbacks run on the background event loop that all blocking calls of a process share.
        """
        given = SubscriptionKey.of(key, token, api_base_url)
        del key, token, api_base_url  # error reports show local variables
        pending = self.subscribe(
            channel=channel,
            topics=topics,
            token=cast("Any", given),
            validate=validate,
            gaps=gaps,
            rewind=rewind,
            on_message=on_message,
            on_error=on_error,
            on_state=on_state,
        )
        return open_sync(pending)
