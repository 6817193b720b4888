"""The key of event ids that all processes share through Redis, where there is no signing key."""

from __future__ import annotations

from typing import Any

from inngest_realtime_core._replay.event_ids import EventIds

from .clients import Executor


async def share_key(event_ids: EventIds, redis: Any, execute: Executor, name: str) -> None:
    """Gives the ids the key that Redis has under a name, which is put there where there is none."""
    own = event_ids.new_key().hex()
    await execute(redis.set(name, own, nx=True))
    if (key := _read_key(await execute(redis.get(name)))) is None:
        # What somebody else has put there would fail every stream, or be known to them.
        await execute(redis.set(name, own))
    event_ids.share(key or bytes.fromhex(own))


def _read_key(text: object) -> bytes | None:
    """The key that is written as hexadecimal digits; None for anything else."""
    try:
        key = bytes.fromhex(text.decode() if isinstance(text, bytes) else str(text))
    except ValueError:
        return None
    return key if len(key) == 32 else None
