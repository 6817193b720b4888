"""What the settings name."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied

from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints.grants import Grant
from inngest_realtime_core.realtime import Realtime

__all__ = ["Inbox", "grants", "realtime"]


class Inbox(Channel, name="inbox:{username}"):
    username: str
    mail = topic(Any)


def own_inbox(request: Any, channel: Inbox) -> bool:
    """Synchronous, and asks the database: for the session, the user, and once more."""
    from django.contrib.auth.models import User

    if not request.user.is_authenticated:
        raise PermissionDenied
    return request.user.username == channel.username and User.objects.filter(username=channel.username).exists()


async def own_inbox_async(request: Any, channel: Inbox) -> bool:
    from django.contrib.auth.models import User

    key = await sync_to_async(lambda: request.user.pk)()
    return await User.objects.filter(username=channel.username, pk=key).aexists()


def refuse(request: Any, channel: Inbox) -> bool:
    from rest_framework import exceptions

    errors: dict[str, Exception] = {
        "bad": BadRequest("Say who you are."),
        "unknown": exceptions.AuthenticationFailed(),
        "denied": exceptions.PermissionDenied("Not yours."),
        "throttled": exceptions.Throttled(wait=7),
        "invalid": exceptions.ValidationError({"username": ["Not one of ours."]}),
    }
    raise errors[channel.username]


grants = [
    Grant(Inbox, authorize=own_inbox),
    Grant(Inbox, authorize=refuse, name="refused"),
    Grant(Inbox, authorize=own_inbox, name="reauthorized", reauthorize_every=0.05),
    Grant(Inbox, authorize=own_inbox_async, name="async-reauthorized", reauthorize_every=0.05),
]
realtime = Realtime()
