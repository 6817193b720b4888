"""What it costs at receipt that a message has an identity: recognising what comes twice, of each that comes once.

Messages as `publish()` sends them are decoded and taken into a full log, beside the same ones without the id, and
beside the same ones with metadata of as many bytes that holds no id: what stays in memory of a message is its frame,
whatever its publisher wrote into it. The time is the lowest of many short rounds, because other work on the machine is
none of ours.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Sequence
from typing import Final, cast

from inngest_realtime_core import Replay
from inngest_realtime_core._api.ids import new_id
from inngest_realtime_core._api.payload import encode_metadata
from inngest_realtime_core._replay.channel_history import ChannelHistory
from inngest_realtime_core._replay.event_ids import EventIds
from inngest_realtime_core._replay.log import History
from inngest_realtime_core._replay.numbers import Clock, to_ticks
from inngest_realtime_core._upstream.protocol import Decoder
from inngest_realtime_core.messages.envelope import METADATA_KEY, Envelope

from .report import Figure, at_most, only

__all__ = ["run"]

SIZES: Final = (256, 2_000)  # messages that are kept
ROUNDS: Final = 60
ROUND: Final = 2_500  # messages: the filter is made anew at least once in each


def run() -> list[Figure]:
    figures: list[Figure] = []
    for size in SIZES:
        label = f"identity of a message, {size:,} kept"
        figures += [
            at_most(f"{label}: time", _time(size), 1.0, "us", f"decoded and taken; lowest of {ROUNDS} rounds"),
            at_most(f"{label}: memory", _memory(size), 60.0, "bytes", "beside its frame"),
            only(f"{label}: time with its number in Redis", _time(size, numbered=True), "us", "the same"),
            at_most(
                f"{label}: memory with its number in Redis",
                _memory(size, numbered=True),
                60.0,
                "bytes",
                "beside its frame",
            ),
        ]
    return figures


class _Numbers:
    """Stands for a Redis that has numbered them."""

    clock = Clock(0.0)

    def created(self, channel: str) -> int:
        return 1


def _frames(count: int, *, identified: bool, key: str = METADATA_KEY, numbered: bool = False) -> list[bytes]:
    now = to_ticks(time.time())
    frames: list[bytes] = []
    for number in range(count):
        frame = (
            b'{"kind":"data","data":{"number":%d},"created_at":"2026-11-24T13:20:00.%09dZ","channel":"c",'
            b'"env_id":"00000000-0000-4000-b000-000000000000","topic":"t"' % (number, number)
        )
        if identified:
            seq = (now + number, now + number - 1, 1) if numbered else None
            frame += b',"metadata":' + encode_metadata(None, id=new_id(), seq=seq).replace(METADATA_KEY, key).encode()
        frames.append(frame + b"}")
    return frames


def _history(size: int, *, numbered: bool = False) -> ChannelHistory:
    shared = cast("History", _Numbers()) if numbered else None
    return ChannelHistory("c", Replay(size=size, max_age=3_600.0), EventIds([b"k" * 32]), shared=shared)


def _take(history: ChannelHistory, frames: Sequence[bytes]) -> float:
    """Returns the seconds of the processor for each."""
    decode, receive = Decoder().decode, history.receive
    began = time.thread_time()
    for frame in frames:
        envelope = decode(frame)
        if isinstance(envelope, Envelope):
            receive(envelope)
    return (time.thread_time() - began) / len(frames)


def _time(size: int, *, numbered: bool = False) -> float:
    """Microseconds for each message."""
    with_id = without = float("inf")
    logs = _history(size, numbered=numbered), _history(size)
    for _ in range(ROUNDS):
        with_id = min(with_id, _take(logs[0], _frames(ROUND, identified=True, numbered=numbered)))
        without = min(without, _take(logs[1], _frames(ROUND, identified=False)))
    return (with_id - without) * 1e6


def _memory(size: int, *, numbered: bool = False) -> float:
    """Bytes for each message."""
    other = "x" * len(METADATA_KEY)
    return _kept(_history(size, numbered=numbered), size, METADATA_KEY) - _kept(_history(size), size, other)


def _kept(history: ChannelHistory, size: int, key: str) -> float:
    frames = _frames(size * 3, identified=True, key=key, numbered=True)
    gc.collect()
    tracemalloc.start()
    try:
        # What has come from a socket belongs to nobody else.
        _take(history, [bytes(bytearray(frame)) for frame in frames])
        history.prune()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / len(history.received())
    finally:
        tracemalloc.stop()
