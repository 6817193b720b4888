"""Pages that move among workers in any order, while Inngest's connections break and workers are replaced.

Everything in one process and on one event loop, with a real Redis: many more turns than whole servers would allow.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from test_redis_replay import SERVER, RedisServer

from .fleet import SIGNING_KEY, TOPICS
from .ledger import Verdict, judge, until
from .proxy import Proxy

pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="no redis-server on the path, and no wheel of one for this Python"),
    pytest.mark.timeout(120),
]
CHANNEL = "moves"


class Page:
    """A page that streams events from one worker at a time, and comes back with the last id.

    Attributes:
        events: (topic, number), or ("gap", reason), in order.
        ready: Whether its present stream has begun.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, int | str]] = []
        self.ready = False
        self._id: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        return self._task is None or self._task.done()

    async def leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def move(self, worker: Realtime, away: float = 0.0) -> None:
        await self.leave()
        self.ready = False
        await asyncio.sleep(away)
        self._task = asyncio.ensure_future(self._read(worker))

    async def _read(self, worker: Realtime) -> None:
        async with worker.subscribe(channel=CHANNEL, topics=TOPICS) as subscription:
            async with aclosing(subscription.get_event_stream(last_event_id=self._id, heartbeat=60)) as stream:
                async for chunk in stream:
                    for block in filter(None, chunk.decode().split("\n\n")):
                        self._take(dict(line.split(": ", 1) for line in block.split("\n")))

    def _take(self, fields: dict[str, str]) -> None:
        self._id = fields.get("id", self._id)
        event = json.loads(fields["data"])
        match event["kind"]:
            case "ready":
                self.ready = True
            case "gap":
                self.events.append(("gap", event["data"]["reason"]))
            case "data":
                self.events.append((event["topic"], event["data"]))
            case _:
                pass


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.long) for turn in range(1, 10))])
async def test_pages_that_move_get_everything_once_and_in_order(
    turn: int, seed: int, tmp_path: Path, note: Callable[..., None]
) -> None:
    rng = random.Random(f"{seed} {turn}")
    redis_server = RedisServer(tmp_path)

    def worker(url: str) -> Realtime:
        # They reach one Inngest under different addresses.
        replay = RedisReplay(redis_server.url, namespace="fleet")
        return Realtime(
            api_base_url=url, signing_key=SIGNING_KEY, replay=replay, ping_interval=0.2, ping_timeout=2.0, linger=0.2
        )

    counts: dict[str, int] = dict.fromkeys(TOPICS, 0)
    over = asyncio.Event()

    async def publish(topic: str) -> None:
        while not over.is_set():
            number = counts[topic]
            await rng.choice(publishers).publish((CHANNEL, topic), number, id=str(number))
            counts[topic] += 1
            await asyncio.sleep(rng.choice((0, 0.001, 0.01, 0.05)))

    async with DevServer(signing_key=SIGNING_KEY) as server, Proxy(int(server.url.rpartition(":")[2])) as proxy:
        publishers = [worker(server.url) for _ in range(2)]
        workers = [worker(proxy.url) for _ in range(3)]
        pages = [Page() for _ in range(4)]
        try:
            for page in pages:
                await page.move(rng.choice(workers))
            await until(lambda: all(page.ready for page in pages), timeout=20)
            publishing = [asyncio.ensure_future(publish(topic)) for topic in TOPICS]
            for _ in range(25):
                await asyncio.sleep(rng.uniform(0, 0.15))
                match rng.random():
                    case chance if chance < 0.75:
                        await rng.choice(pages).move(rng.choice(workers), rng.choice((0, 0.01, 0.1, 0.4)))
                    case chance if chance < 0.85:
                        proxy.reset()
                    case _:
                        old = rng.choice(workers)
                        workers[workers.index(old)] = worker(proxy.url)
                        await old.close()
                for page in pages:
                    if page.is_over:
                        await page.move(rng.choice(workers))
            over.set()
            await asyncio.gather(*publishing)
            await until(
                lambda: all((topic, count - 1) in page.events for page in pages for topic, count in counts.items()),
                timeout=20,
            )
            verdict = sum((judge(page.events, counts) for page in pages), Verdict())
        finally:
            for page in pages:
                await page.leave()
            for each in (*workers, *publishers):
                await each.close()
            redis_server.stop()
    note("pages that move among workers", deliveries=4 * sum(counts.values()), **vars(verdict))
    assert verdict == Verdict()
