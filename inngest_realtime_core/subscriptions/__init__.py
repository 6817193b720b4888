"""What `subscribe()` returns."""

from __future__ import annotations

from .pending import PendingSubscription, open_sync
from .subscription import Subscription
from .sync import SyncSubscription

__all__ = ["PendingSubscription", "Subscription", "SyncSubscription", "open_sync"]
