"""What channels received lately, kept in Redis for all worker processes. Needs the extra `redis`."""

from __future__ import annotations

from .replay import RedisReplay

__all__ = ["RedisReplay"]
