"""A fleet of real servers that are restarted, killed and moved while pages watch.

What is published with a record every page gets once, in order and without a gap; what somebody else publishes may be
lost, but never in silence.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_core._api.http import hash_signing_key
from inngest_realtime_redis import RedisReplay
from test_redis_replay import SERVER, RedisServer

from .fleet import NGINX, SIGNING_KEY, Page, Process, Traffic, gunicorn, inngest, nginx, pages, running, settle, uvicorn
from .fleet_site import Room
from .ledger import Verdict, until
from .proxy import Proxy

pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="no redis-server on the path, and no wheel of one for this Python"),
    pytest.mark.timeout(300),
]
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx on the path")

ROOMS = [f"{number}" for number in range(10)]


def check(verdict: Verdict) -> None:
    """Nothing is lost, repeated, out of order, or told of as a gap."""
    assert verdict == Verdict()


@pytest.fixture
async def dev_server(tmp_path: Path) -> AsyncIterator[Process]:
    server = inngest(tmp_path)
    async with running(server):
        yield server


@pytest.fixture
async def shared(dev_server: Process, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The variables of a worker that keeps what pages missed in a Redis of this test's."""
    redis_server = RedisServer(tmp_path)
    try:
        yield {"INNGEST_DEV": dev_server.url, "INNGEST_SIGNING_KEY": SIGNING_KEY, "REDIS_URL": redis_server.url}
    finally:
        redis_server.stop()


@pytest.fixture
async def traffic(shared: dict[str, str]) -> AsyncIterator[Traffic]:
    """Published by a process that serves no page."""
    replay = RedisReplay(shared["REDIS_URL"])
    async with Realtime(api_base_url=shared["INNGEST_DEV"], signing_key=SIGNING_KEY, replay=replay) as realtime:

        async def publish(room: str, topic: str, number: int) -> None:
            await realtime.publish((Room(id=room), topic), {"n": number}, id=str(number))

        yield Traffic(publish, ROOMS)


@pytest.fixture
def tell(note: Callable[..., None]) -> Callable[[str, list[Page], Traffic, Verdict], None]:
    """Record the figures of a scenario."""

    def tell(name: str, watching: list[Page], traffic: Traffic, verdict: Verdict) -> None:
        note(
            f"fleet: {name}",
            published=traffic.total,
            a_second=traffic.total / traffic.seconds,
            deliveries=sum(sum(traffic.published[page.room].values()) for page in watching),
            returns=sum(page.returns for page in watching),
            **vars(verdict),
        )

    return tell


async def back(watching: list[Page], before: list[int]) -> None:
    """Wait until each page has a stream that has begun since."""
    await until(lambda: all(page.ready > then for page, then in zip(watching, before, strict=True)), timeout=30)


async def reload(site: Process, watching: list[Page]) -> None:
    """Let gunicorn replace its workers, and wait until the old ones are gone and every page is back."""
    old, before = site.workers(), [page.ready for page in watching]
    site.send(signal.SIGHUP)
    await until(lambda: not any(worker.is_running() for worker in old), timeout=30)
    await back(watching, before)


@pytest.mark.parametrize(("reloads", "kills"), [(1, 1), pytest.param(3, 2, marks=pytest.mark.long)])
async def test_graceful_restarts_and_kills(
    reloads: int, kills: int, shared: dict[str, str], traffic: Traffic, tmp_path: Path, tell: Callable[..., None]
) -> None:
    """A kill comes while the workers that a reload has started are taking over, or between two reloads."""
    site = gunicorn(tmp_path, 2, **shared)
    async with running(site), pages(site.url, ROOMS * 4) as watching:
        async with traffic.flowing():
            await asyncio.sleep(2)
            for turn in range(reloads):
                reloading = asyncio.ensure_future(reload(site, watching))
                if turn < kills - 1:
                    await asyncio.sleep(random.uniform(0.0, 2.0))
                    site.busiest().kill()
                await reloading
                await asyncio.sleep(2)
            site.busiest().kill()
            await asyncio.sleep(5)
        verdict = await settle(watching, traffic)
    tell(f"{reloads} SIGHUP and {kills} SIGKILL of 2 workers", watching, traffic, verdict)
    assert sum(page.returns for page in watching) >= len(watching) * reloads
    check(verdict)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_all_workers_at_once(
    number: signal.Signals, shared: dict[str, str], traffic: Traffic, tmp_path: Path, tell: Callable[..., None]
) -> None:
    """For a while there is no worker at all, and nobody follows any channel."""
    site = gunicorn(tmp_path, 2, **shared)
    async with running(site), pages(site.url, ROOMS * 2) as watching:
        async with traffic.flowing():
            for _ in range(2):
                await asyncio.sleep(3)
                await site.stop(number)
                before = [page.ready for page in watching]
                await site.start()
                await back(watching, before)
            await asyncio.sleep(3)
        verdict = await settle(watching, traffic)
    tell(f"all workers replaced at once by {number.name}, twice", watching, traffic, verdict)
    check(verdict)


@needs_nginx
@pytest.mark.long
async def test_rolling_update(
    shared: dict[str, str], traffic: Traffic, tmp_path: Path, tell: Callable[..., None]
) -> None:
    """One worker after the other is replaced by a fresh one, as soon as the one before answers."""
    workers = [uvicorn(tmp_path, **shared) for _ in range(2)]
    front = nginx(tmp_path, workers)
    async with running(*workers, front), pages(front.url, ROOMS * 2) as watching:
        async with traffic.flowing():
            for _ in range(3):
                for worker in workers:
                    await asyncio.sleep(1)
                    await worker.stop()
                    await worker.start()
            await asyncio.sleep(4)
        verdict = await settle(watching, traffic)
    tell("3 rolling updates of 2 workers behind nginx", watching, traffic, verdict)
    assert sum(page.returns for page in watching) >= len(watching)
    check(verdict)


@needs_nginx
@pytest.mark.long
async def test_scale_down(shared: dict[str, str], traffic: Traffic, tmp_path: Path, tell: Callable[..., None]) -> None:
    """Each channel has one viewer, who moves to a worker that has never followed it."""
    workers = [uvicorn(tmp_path, **shared) for _ in range(3)]
    front = nginx(tmp_path, workers)
    traffic.rooms = [f"only-{number}" for number in range(20)]
    async with running(*workers, front), pages(front.url, traffic.rooms) as watching:
        async with traffic.flowing():
            for worker in workers[1:]:
                await asyncio.sleep(4)
                await worker.stop()
            await asyncio.sleep(4)
            # And up again, with the last one of before gone.
            await workers[1].start()
            await workers[0].stop()
            await asyncio.sleep(4)
        verdict = await settle(watching, traffic)
    tell("scale-down that moves the only viewer of a channel", watching, traffic, verdict)
    assert sum(page.returns for page in watching) >= len(watching)
    check(verdict)


@pytest.mark.long
async def test_in_memory(dev_server: Process, tmp_path: Path, tell: Callable[..., None]) -> None:
    """One process that publishes and serves, without Redis; pages are cut off, and so is it from Inngest."""
    async with Proxy(int(dev_server.url.rpartition(":")[2])) as proxy, httpx.AsyncClient(trust_env=False) as http:
        site = uvicorn(tmp_path, INNGEST_DEV=proxy.url, INNGEST_SIGNING_KEY=SIGNING_KEY)

        async def publish(room: str, topic: str, number: int) -> None:
            answer = await http.post(f"{site.url}/publish", params={"id": room, "topic": topic, "n": number})
            answer.raise_for_status()

        traffic = Traffic(publish, ROOMS)
        async with running(site), pages(site.url, ROOMS * 2) as watching:
            async with traffic.flowing():
                for turn in range(20):
                    await asyncio.sleep(0.5)
                    for page in watching[turn % 4 :: 4]:
                        page.cut()
                    if turn % 5 == 4:
                        proxy.reset()
            verdict = await settle(watching, traffic)
        tell("one process in memory, pages and Inngest cut off", watching, traffic, verdict)
    assert proxy.seen["connect"] > 1
    check(verdict)


@pytest.mark.long
async def test_a_foreign_publisher(
    shared: dict[str, str], traffic: Traffic, tmp_path: Path, tell: Callable[..., None]
) -> None:
    """Every fifth message goes to Inngest past this package: it is recorded by nobody."""
    recorded = traffic.publish
    headers = {"authorization": f"Bearer {hash_signing_key(SIGNING_KEY)}"}
    async with httpx.AsyncClient(trust_env=False, base_url=shared["INNGEST_DEV"], headers=headers) as http:

        async def publish(room: str, topic: str, number: int) -> None:
            if number % 5:
                await recorded(room, topic, number)
                return
            query = {"channel": Room(id=room).name, "topic": topic}
            answer = await http.post("/v1/realtime/publish", params=query, json={"n": number})
            answer.raise_for_status()

        traffic.publish = publish
        site = gunicorn(tmp_path, 2, **shared)
        async with running(site), pages(site.url, ROOMS * 2) as watching:
            async with traffic.flowing():
                await asyncio.sleep(3)
                await reload(site, watching)
                await asyncio.sleep(3)
                site.busiest().kill()
                await asyncio.sleep(3)
                await site.stop()
                await site.start()
                await asyncio.sleep(4)
            verdict = await settle(watching, traffic)
    tell("a foreign publisher mixed in, reload, kill and restart", watching, traffic, verdict)
    assert verdict.gaps > 0
    assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0)


@needs_nginx
@pytest.mark.long
@pytest.mark.parametrize("stalls", [False, True], ids=["replaced", "and stalled"])
async def test_three_processes_that_publish_and_serve(
    stalls: bool, shared: dict[str, str], tmp_path: Path, tell: Callable[..., None]
) -> None:
    """Workers are killed and replaced in any order, and one does nothing for a while, as on a machine that swaps."""
    workers = [uvicorn(tmp_path, **shared) for _ in range(3)]
    serving = [*workers]
    front = nginx(tmp_path, workers)
    async with running(*workers, front), httpx.AsyncClient(trust_env=False, timeout=3) as http:

        async def publish(room: str, topic: str, number: int) -> None:
            answer = await http.post(
                f"{random.choice(serving).url}/publish", params={"id": room, "topic": topic, "n": number}
            )
            answer.raise_for_status()

        traffic = Traffic(publish, ROOMS)
        async with pages(front.url, ROOMS * 3) as watching:
            async with traffic.flowing():
                for turn in range(6):
                    await asyncio.sleep(random.uniform(0.5, 2.0))
                    worker = workers[turn % 3]
                    if stalls and turn % 3 == 1:
                        worker.send(signal.SIGSTOP)
                        await asyncio.sleep(random.uniform(0.5, 4.0))
                        worker.send(signal.SIGCONT)
                    else:
                        await worker.stop(random.choice((signal.SIGTERM, signal.SIGKILL)))
                        serving.remove(worker)
                        await worker.start()
                        serving.append(worker)
                await asyncio.sleep(4)
            verdict = await settle(watching, traffic)
    tell(f"3 processes that publish, replaced{' and stalled' if stalls else ''}", watching, traffic, verdict)
    assert sum(page.returns for page in watching) >= len(watching)
    check(verdict)
