"""What `subscribe()` returns."""

from __future__ import annotations

from .subscription import PendingSubscription, Subscription
from .sync import SyncSubscription

__all__ = ["PendingSubscription", "Subscription", "SyncSubscription"]
