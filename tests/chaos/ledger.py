"""What was published and what arrived: nothing may be missing without a gap, come twice, or come out of order."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inngest_realtime_core.subscriptions.subscription import Subscription

__all__ = ["Verdict", "Witness", "judge", "until"]


async def until(condition: Callable[[], object], *, timeout: float = 10.0) -> float:
    """Wait for a condition; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout:
            raise TimeoutError(f"The condition did not hold within {timeout} s.")
        await asyncio.sleep(0.002)
    return time.monotonic() - began


@dataclass
class Verdict:
    """What is wrong with what arrived.

    Attributes:
        lost: Numbers that never came.
        repeated: Numbers that came more than once.
        disordered: Numbers that came after a larger one of their topic.
        unannounced: Holes without a gap between what came before and after.
        gaps: Gaps that were told.
    """

    lost: int = 0
    repeated: int = 0
    disordered: int = 0
    unannounced: int = 0
    gaps: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.lost + other.lost,
            self.repeated + other.repeated,
            self.disordered + other.disordered,
            self.unannounced + other.unannounced,
            self.gaps + other.gaps,
        )


@dataclass
class Witness:
    """Reads a subscription whose messages carry `{"n": 0}`, `{"n": 1}`, ... in each topic.

    Attributes:
        events: (topic, number), or ("gap", reason), in order.
        streams: The text of each data stream, by its id.
    """

    subscription: Subscription
    throttle: float = 0.0
    events: list[tuple[str, int | str]] = field(default_factory=list[tuple[str, "int | str"]])
    times: list[float] = field(default_factory=list[float])
    streams: dict[str, str] = field(default_factory=dict[str, str])
    ended: dict[str, int] = field(default_factory=dict[str, int])
    error: Exception | None = None
    _task: asyncio.Task[None] | None = None

    def start(self) -> Witness:
        self._task = asyncio.ensure_future(self._read())
        return self

    async def _read(self) -> None:
        try:
            async for message in self.subscription:
                self.times.append(time.monotonic())
                if message.kind == "gap":
                    self.events.append(("gap", message.data.reason))
                elif message.stream_id is None:
                    self.events.append((message.topic, message.data["n"]))
                elif message.kind == "chunk":
                    self.streams[message.stream_id] = self.streams.get(message.stream_id, "") + message.data
                elif message.kind == "datastream-end":
                    self.ended[message.stream_id] = self.ended.get(message.stream_id, 0) + 1
                if self.throttle:
                    await asyncio.sleep(self.throttle)
        except Exception as error:
            self.error = error

    async def stop(self) -> None:
        await self.subscription.close()
        if self._task is not None:
            await asyncio.wait([self._task])

    @property
    def gaps(self) -> list[str]:
        return [str(reason) for topic, reason in self.events if topic == "gap"]

    def last(self, topic: str) -> int:
        return next((int(n) for name, n in reversed(self.events) if name == topic), -1)

    def judge(self, published: dict[str, int]) -> Verdict:
        """Compare with how many messages were published to each topic."""
        return judge(self.events, published)


def judge(events: Sequence[tuple[str, int | str]], published: dict[str, int]) -> Verdict:
    """Compare what arrived, (topic, number) or ("gap", reason), with how many messages each topic got."""
    verdict = Verdict(gaps=sum(topic == "gap" for topic, _ in events))
    for topic, count in published.items():
        numbers = [int(n) for name, n in events if name == topic]
        verdict.lost += count - len(set(numbers) & set(range(count)))
        verdict.repeated += sum(times - 1 for times in Counter(numbers).values())
        last, announced = -1, False
        for name, n in events:
            if name == "gap":
                announced = True
            elif name == topic:
                number = int(n)
                verdict.disordered += number < last
                verdict.unannounced += number > last + 1 and not announced
                last, announced = max(last, number), False
        verdict.unannounced += count > last + 1 and not announced
    return verdict
