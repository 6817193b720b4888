"""The documented standalone forms: for one call, without a `Realtime` to keep.

Each makes a `Realtime` for the call alone and closes it afterwards; an application that calls them again and again
shares connections by making one `Realtime` and using its methods.
"""

from __future__ import annotations

from typing import Any, cast

from ._api.client_token import ClientSubscriptionToken
from ._concurrency.background import run_sync
from .arguments import Rewind
from .channels.channel import Channel
from .realtime import Realtime
from .settings import HasSettings, InngestApp
from .subscriber import Token, Topics
from .subscriptions.callbacks import OnError, OnMessage, OnState
from .subscriptions.key import SubscriptionKey
from .subscriptions.pending import PendingSubscription, open_sync
from .subscriptions.sync import SyncSubscription


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


def subscribe(
    *,
    app: InngestApp | HasSettings | None = None,
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
    """Subscribe to topics of a channel: `await` the result, or enter it with `async with`.

    `Realtime.subscribe` tells of the arguments and errors.

    Args:
        app: The application's `inngest.Inngest`, or a `Realtime`, whose connections are then shared; None reads the
            environment.
    """
    given = SubscriptionKey.of(key, token, api_base_url)
    del key, token, api_base_url  # error reports show local variables
    # Alone, there is nobody to keep a connection for when the subscription has ended.
    realtime = app if isinstance(app, Realtime) else Realtime(app, linger=0)
    return realtime.subscribe(
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


def subscribe_sync(
    *,
    app: InngestApp | HasSettings | None = None,
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
    """The sync twin of `subscribe`: returns the open subscription; iterate it with `for`."""
    given = SubscriptionKey.of(key, token, api_base_url)
    del key, token, api_base_url  # error reports show local variables
    return open_sync(
        subscribe(
            app=app,
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
    )
