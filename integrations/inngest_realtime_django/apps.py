"""The app, for `INSTALLED_APPS`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import AppConfig


class InngestRealtimeConfig(AppConfig):
    """`"inngest_realtime_django"` in `INSTALLED_APPS`."""

    name = "inngest_realtime_django"
    label = "inngest_realtime"
    verbose_name: Any = "Inngest Realtime"

    def ready(self) -> None:
        # Importing registers them.
        import_module(f"{self.name}.checks")
