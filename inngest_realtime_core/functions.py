"""The documented standalone forms: for one call, without a `Realtime` to keep.

Each makes a `Realtime` for the call alone and closes it afterwards; an application that calls them again and again
shares connections by making one `Realtime` and using its methods.
"""

from __future__ import annotations

from typing_extensions import Unpack

from ._api.client_token import ClientSubscriptionToken
from ._concurrency.background import run_sync
from .channels.channel import Channel
from .realtime import Realtime
from .settings import HasSettings, InngestApp
from .subscriber import SubscribeOptions, Topics, hide_key, options_of
from .subscriptions.pending import PendingSubscription, open_sync
from .subscriptions.sync import SyncSubscription


class StandaloneOptions(SubscribeOptions, total=False):
    app: InngestApp | HasSettings | None


async def get_client_subscription_token(
    app: InngestApp | HasSettings | None = None, *, channel: Channel | str, topics: Topics | None = None
) -> ClientSubscriptionToken:
    """Mint a token with which a browser can subscribe to these topics for a minute.

    Args:
        app: The application's `inngest.Inngest`, or a `Realtime`; None reads the environment.
        topics: Names or topics; None means all that the channel's class declares.

    Raises:
        ChannelError, TopicError: The channel or a topic is not acceptable.
        InngestError: Inngest refused, did not respond, or responded with something else.
        ConfigurationError: The settings are wrong, or there is no signing key where one is needed.
    """
    if isinstance(app, Realtime):
        return await app.get_client_subscription_token(channel=channel, topics=topics)
    async with Realtime(app) as realtime:
        return await realtime.get_client_subscription_token(channel=channel, topics=topics)


def get_client_subscription_token_sync(
    app: InngestApp | HasSettings | None = None, *, channel: Channel | str, topics: Topics | None = None
) -> ClientSubscriptionToken:
    """The sync twin of `get_client_subscription_token`. It blocks."""
    return run_sync(lambda: get_client_subscription_token(app, channel=channel, topics=topics))


@options_of(Realtime.subscribe)
def subscribe(
    *, app: InngestApp | HasSettings | None = None, **options: Unpack[SubscribeOptions]
) -> PendingSubscription:
    """Subscribe to topics of a channel: `await` the result, or enter it with `async with`.

    `Realtime.subscribe` tells of the arguments and errors.

    Args:
        app: The application's `inngest.Inngest`, or a `Realtime`, whose connections are then shared; None reads the
            environment.
    """
    hide_key(options)
    # Alone, there is nobody to keep a connection for when the subscription has ended.
    realtime = app if isinstance(app, Realtime) else Realtime(app, api_base_url=options.get("api_base_url"), linger=0)
    return realtime.subscribe(**options)


@options_of(subscribe)
def subscribe_sync(**options: Unpack[StandaloneOptions]) -> SyncSubscription:
    """The sync twin of `subscribe`: returns the open subscription; iterate it with `for`."""
    hide_key(options)
    return open_sync(subscribe(**options))
