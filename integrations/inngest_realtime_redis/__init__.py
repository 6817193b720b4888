"""What channels received lately, kept in Redis for all worker processes. Needs the extra `redis`."""

from __future__ import annotations

from inngest_realtime_core.extras import extra

with extra("redis", __name__):
    from .replay import RedisReplay

__all__ = ["RedisReplay"]
