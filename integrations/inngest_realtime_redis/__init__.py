"""What channels received lately, kept in Redis for all worker processes. Needs the extra `redis`."""

from __future__ import annotations

from importlib import import_module

from inngest_realtime_core.extras import extra

with extra("redis", __name__):
    # It is used only once a channel is followed, which is late to learn that it is missing.
    import_module("redis")

    from .replay import RedisReplay

__all__ = ["RedisReplay"]
