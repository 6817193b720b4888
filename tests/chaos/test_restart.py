"""Servers that are replaced under load: with an announcement nothing is lost, without one all that is lost is told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import pytest
from pydantic import AfterValidator

from inngest_realtime_core import Channel
from inngest_realtime_core import topic as declared
from inngest_realtime_core.errors import DataStreamInterruptedError
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_devserver.server import DevServer

from .cluster import Cluster
from .conftest import PING_INTERVAL, PING_TIMEOUT
from .ledger import Verdict, Witness, until

TOPICS = ("a", "b", "c")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster().running() as cluster:
        yield cluster


@pytest.fixture
def multiplex() -> bool:
    return True


@pytest.fixture
async def realtime(cluster: Cluster, multiplex: bool) -> AsyncIterator[Realtime]:
    async with Realtime(
        api_base_url=cluster.proxy.url,
        ping_interval=PING_INTERVAL,
        ping_timeout=PING_TIMEOUT,
        linger=0.0,
        buffer_size=20_000,
        multiplex=multiplex,
    ) as realtime:
        yield realtime


async def _witnesses(realtime: Realtime, channels: list[str]) -> dict[str, Witness]:
    subscriptions = await asyncio.gather(*(_subscribe(realtime, channel) for channel in channels))
    return dict(zip(channels, subscriptions, strict=True))


async def _subscribe(realtime: Realtime, channel: str) -> Witness:
    return Witness(await realtime.subscribe(channel=channel, topics=TOPICS)).start()


def _judge(cluster: Cluster, witnesses: dict[str, Witness]) -> Verdict:
    return sum((witness.judge(cluster.published[name]) for name, witness in witnesses.items()), Verdict())


def _complete(cluster: Cluster, witnesses: dict[str, Witness]) -> bool:
    return all(
        witness.last(topic) == count - 1
        for name, witness in witnesses.items()
        for topic, count in cluster.published[name].items()
    )


@pytest.mark.parametrize("multiplex", [True, False])
async def test_graceful(
    cluster: Cluster, realtime: Realtime, channel: str, multiplex: bool, note: Callable[..., None]
) -> None:
    """Three servers replaced one after the other under 10,000 messages: 0 lost, 0 repeated, streams whole."""
    channels = [f"{channel}:{number}" for number in range(5)]
    witnesses = await _witnesses(realtime, channels)
    streams: list[asyncio.Future[None]] = []
    replacing = asyncio.ensure_future(_replace(cluster, 3, grace=1.8))
    began = time.monotonic()
    for number in range(10_000):
        cluster.publish(random.choice(channels), random.choice(TOPICS))
        if number % 250 == 0:
            # Streams that are open while servers are replaced, and some that begin in the middle of it.
            name = f"s{number}"
            streams.append(
                asyncio.ensure_future(
                    cluster.publish_stream(random.choice(channels), random.choice(TOPICS), name, chunks=40, seconds=1.2)
                )
            )
        if number % 10 == 0:
            await asyncio.sleep(max(0.0, began + number * 0.0007 - time.monotonic()))
    await asyncio.gather(*streams)
    await replacing
    for name in channels:
        for topic in TOPICS:
            cluster.publish(name, topic)
    await until(lambda: _complete(cluster, witnesses))
    received = {stream: text for witness in witnesses.values() for stream, text in witness.streams.items()}
    ended = {stream: times for witness in witnesses.values() for stream, times in witness.ended.items()}
    verdict = _judge(cluster, witnesses)
    whole = sum(received.get(stream) == text for stream, text in cluster.texts.items())
    note(
        f"graceful restart under 10,000 messages, {'one socket' if multiplex else 'a socket per channel'}",
        servers=4,
        streams=len(cluster.texts),
        streams_whole=whole,
        reconnects=realtime.stats().reconnects,
        **vars(verdict),
    )
    assert verdict == Verdict()
    assert received == cluster.texts
    assert ended == dict.fromkeys(cluster.texts, 1)
    assert realtime.stats().reconnects == 0
    for witness in witnesses.values():
        await witness.stop()


async def _replace(cluster: Cluster, times: int, *, grace: float) -> None:
    for _ in range(times):
        await asyncio.sleep(0.3)
        await cluster.replace(grace=grace)


async def test_joining_in_a_switch_over(
    cluster: Cluster, realtime: Realtime, channel: str, note: Callable[..., None]
) -> None:
    """Subscribe, then publish: nothing is lost and nothing waits, at whatever moment of a handover."""
    first = await _subscribe(realtime, channel)
    cluster.proxy.delay = 0.01
    replacing = asyncio.ensure_future(_replace(cluster, 2, grace=1.5))
    waits: list[float] = []

    async def join(worker: int) -> None:
        while not replacing.done():
            name = f"{channel}:{worker}:{len(waits)}"
            witness = await _subscribe(realtime, name)
            began = time.monotonic()
            cluster.publish(name, "a")
            await until(lambda witness=witness: witness.last("a") == 0)
            waits.append(time.monotonic() - began)
            assert witness.events == [("a", 0)]
            await witness.stop()

    await asyncio.gather(*(join(worker) for worker in range(8)))
    await replacing
    note("joining during handovers", joined=len(waits), longest_wait_s=max(waits))
    assert max(waits) < 0.5
    await first.stop()


async def test_graceful_but_hasty(
    cluster: Cluster, realtime: Realtime, channel: str, note: Callable[..., None]
) -> None:
    """A grace period too short for a successor: what may be lost is told."""
    witnesses = await _witnesses(realtime, [channel])
    cluster.proxy.delay = 0.02
    publishing = asyncio.ensure_future(_publish(cluster, [channel], seconds=1.5))
    for grace in (0.0, 0.01, 0.05, 0.1):
        await asyncio.sleep(0.1)
        await cluster.replace(grace=grace)
    await publishing
    await _settle(cluster, realtime, witnesses)
    verdict = _judge(cluster, witnesses)
    note("graceful restart, grace of 0 to 0.1 s", **vars(verdict))
    assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0)
    await witnesses[channel].stop()


async def test_closing_without_successor(
    cluster: Cluster, realtime: Realtime, channel: str, note: Callable[..., None]
) -> None:
    """While the closing server drops newcomers, the old connection goes on; the successor comes when it can."""
    witnesses = await _witnesses(realtime, [channel])
    (old,) = cluster.servers
    publishing = asyncio.ensure_future(_publish(cluster, [channel], seconds=4.5))
    # Longer than the two attempts between which a successor comes can be apart, 2.5 s, and what it takes from there.
    await old.begin_closing(4.0, accept_new=False)
    connects = cluster.proxy.seen["connect"]
    await asyncio.sleep(1.0)
    attempts = cluster.proxy.seen["connect"] - connects
    await cluster.start()
    await publishing
    await cluster.stop(old)
    await _settle(cluster, realtime, witnesses)
    verdict = _judge(cluster, witnesses)
    note("closing, newcomers dropped for 1 s", attempts=attempts, **vars(verdict))
    assert verdict == Verdict()
    assert 1 <= attempts <= 10
    await witnesses[channel].stop()


async def test_refused_successor(cluster: Cluster, realtime: Realtime, channel: str, note: Callable[..., None]) -> None:
    """A rejected successor leaves the old connection its time; the rejection is reported when that ends."""
    witness = await _subscribe(realtime, channel)
    (old,) = cluster.servers
    requests = old.stats().token_requests
    old.reject_tokens(401)
    await old.begin_closing(1.0)
    for _ in range(50):
        cluster.publish(channel, "a")
        await asyncio.sleep(0.01)
    await until(lambda: witness.last("a") == 49)
    assert witness.error is None
    await until(lambda: witness.error is not None)
    tried = old.stats().token_requests - requests
    note("401 for the successor of a closing connection", error=type(witness.error).__name__, token_requests=tried)
    assert tried <= 2
    assert witness.subscription.state == "closed"


async def _publish(cluster: Cluster, channels: list[str], *, seconds: float, rate: float = 1_000.0) -> None:
    began = time.monotonic()
    number = 0
    while (age := time.monotonic() - began) < seconds:
        while number < age * rate:
            cluster.publish(random.choice(channels), random.choice(TOPICS))
            number += 1
        await asyncio.sleep(0.002)


async def _settle(cluster: Cluster, realtime: Realtime, witnesses: dict[str, Witness]) -> None:
    """Wait until all are subscribed again, and publish once more everywhere: the last hole then shows."""
    await until(lambda: all(witness.subscription.state == "open" for witness in witnesses.values()), timeout=20)
    for name in witnesses:
        for topic in TOPICS:
            cluster.publish(name, topic)
    await until(lambda: _complete(cluster, witnesses), timeout=20)


async def test_abrupt(cluster: Cluster, realtime: Realtime, channel: str, note: Callable[..., None]) -> None:
    """Servers killed under load: each hole has a gap before what follows it, nothing comes twice."""
    channels = [f"{channel}:{number}" for number in range(5)]
    witnesses = await _witnesses(realtime, channels)
    publishing = asyncio.ensure_future(_publish(cluster, channels, seconds=6.0))
    streaming = [
        asyncio.ensure_future(cluster.publish_stream(channels[0], "a", f"s{number}", chunks=40, seconds=5.0))
        for number in range(3)
    ]
    for _ in range(5):
        await until(lambda: witnesses[channels[0]].subscription.state == "open")
        await asyncio.sleep(random.uniform(0.2, 0.6))
        (old,) = cluster.servers
        await cluster.stop(old)
        await asyncio.sleep(random.uniform(0, 0.2))
        await cluster.start()
    await publishing
    await asyncio.gather(*streaming)
    await _settle(cluster, realtime, witnesses)
    verdict = _judge(cluster, witnesses)
    published = sum(sum(counts.values()) for counts in cluster.published.values())
    note(
        "5 abrupt restarts under load",
        published=published,
        reconnects=realtime.stats().reconnects,
        **vars(verdict),
    )
    assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0)
    assert verdict.lost > 0
    assert realtime.stats().reconnects == 5
    for witness in witnesses.values():
        await witness.stop()


@pytest.mark.long
async def test_mixture(cluster: Cluster, realtime: Realtime, channel: str, note: Callable[..., None]) -> None:
    """Cuts, resets, holes, restarts and handovers in any order, on several sockets."""
    channels = [f"{channel}:{number}" for number in range(20)]
    witnesses = await _witnesses(realtime, channels)
    publishing = asyncio.ensure_future(_publish(cluster, channels, seconds=8.0))
    deeds: list[str] = []
    while not publishing.done():
        deed = random.choice(["cut", "reset", "blackhole", "kill", "replace", "closing", "join", "quiet"])
        deeds.append(deed)
        if deed == "cut":
            cluster.proxy.cut()
        elif deed == "reset":
            cluster.proxy.reset()
        elif deed == "blackhole":
            cluster.proxy.blackhole()
        elif deed == "kill":
            (old,) = cluster.servers
            await cluster.stop(old)
            await cluster.start()
        elif deed == "replace":
            await cluster.replace(grace=random.uniform(0.0, 1.5))
        elif deed == "closing":
            (server,) = cluster.servers
            await server.begin_closing(random.uniform(0.0, 0.5))
        elif deed == "join":
            extra = await realtime.subscribe(channel=f"{channel}:extra:{len(deeds)}", topics=["t"])
            await extra.close()
        await asyncio.sleep(random.uniform(0.0, 0.5))
    await publishing
    await _settle(cluster, realtime, witnesses)
    verdict = _judge(cluster, witnesses)
    published = sum(sum(counts.values()) for counts in cluster.published.values())
    note("a mixture of everything", deeds=len(deeds), published=published, **vars(verdict))
    assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0), deeds
    for witness in witnesses.values():
        await witness.stop()


@pytest.mark.long
async def test_thousand_channels(cluster: Cluster, channel: str, note: Callable[..., None]) -> None:
    """1,000 channels on one socket through a cut, a kill and a replacement."""
    channels = [f"{channel}:{number}" for number in range(1_000)]
    async with Realtime(
        api_base_url=cluster.proxy.url, ping_interval=2.0, ping_timeout=2.0, linger=0.0, buffer_size=1_000
    ) as realtime:
        began = time.monotonic()
        witnesses = await _witnesses(realtime, channels)
        subscribed = time.monotonic() - began
        assert realtime.stats().sockets == 1
        publishing = asyncio.ensure_future(_publish(cluster, channels, seconds=5.0, rate=1_500))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        cluster.proxy.cut()
        await until(lambda: realtime.stats().reconnects == 1)
        recovered = time.monotonic() - began
        (old,) = cluster.servers
        await cluster.stop(old)
        await cluster.start()
        await until(lambda: realtime.stats().reconnects == 2)
        await cluster.replace(grace=2.0)
        await publishing
        await _settle(cluster, realtime, witnesses)
        verdict = _judge(cluster, witnesses)
        note(
            "1,000 channels on one socket: cut, kill, replacement",
            subscribe_all_s=subscribed,
            recover_all_s=recovered,
            sockets=realtime.stats().sockets,
            **vars(verdict),
        )
        assert (verdict.repeated, verdict.disordered, verdict.unannounced) == (0, 0, 0)
        assert realtime.stats().reconnects == 2
        assert {tuple(witness.gaps) for witness in witnesses.values()} == {("reconnect", "reconnect")}


async def test_restart_on_the_same_port(server: DevServer, channel: str) -> None:
    """The plain case of a developer: the dev server is stopped and started again."""
    async with Realtime(api_base_url=server.url, linger=0.0) as realtime:
        witness = Witness(await realtime.subscribe(channel=channel, topics=["t"])).start()
        await server.publish(channel, "t", {"n": 0})
        await until(lambda: witness.last("t") == 0)
        await server.__aexit__(None, None, None)
        await until(lambda: witness.subscription.state == "reconnecting")
        await server.__aenter__()
        await until(lambda: witness.subscription.state == "open")
        await server.publish(channel, "t", {"n": 1})
        await until(lambda: witness.last("t") == 1)
        assert witness.events == [("t", 0), ("gap", "reconnect"), ("t", 1)]
        await witness.stop()


async def test_upkeep_under_churn(cluster: Cluster, realtime: Realtime, channel: str) -> None:
    """Subscribers that come and go all the time keep nobody from what a handover has to do."""
    witness = await _subscribe(realtime, channel)
    lives: set[asyncio.Future[None]] = set()

    async def live(number: int) -> None:
        subscription = await realtime.subscribe(channel=f"{channel}:{number}", topics=["a"])
        await asyncio.sleep(random.uniform(0, 0.5))
        await subscription.close()

    async def churn() -> None:
        for number in itertools.count():
            lives.add(asyncio.ensure_future(live(number)))
            await asyncio.sleep(random.expovariate(100))

    cluster.proxy.delay = 0.02
    churning = asyncio.ensure_future(churn())
    for _ in range(2):
        await cluster.replace(grace=1.5)
        # Quiet so far: it has been seen on no connection, and waits for nothing but the old one's end.
        cluster.publish(channel, "a")
        await until(lambda: witness.last("a") == cluster.published[channel]["a"] - 1, timeout=3)
    await until(lambda: realtime.stats().sockets == 1, timeout=3)
    churning.cancel()
    await asyncio.gather(*lives)
    assert witness.judge(cluster.published[channel]) == Verdict()
    assert realtime.stats().reconnects == 0
    await witness.stop()


async def test_a_successor_that_lags(cluster: Cluster, realtime: Realtime, channel: str) -> None:
    """What the new server brings late has been delivered by the old one, also before the new one was there."""
    witness = await _subscribe(realtime, channel)
    (old,) = cluster.servers
    await cluster.start(lag=0.3)
    began = time.monotonic()
    closing = None
    while time.monotonic() - began < 3.0:
        cluster.publish(channel, random.choice(TOPICS))
        await asyncio.sleep(0.001)
        if closing is None and time.monotonic() - began > 0.5:
            closing = asyncio.ensure_future(old.begin_closing(2.0))
    await until(lambda: _complete(cluster, {channel: witness}), timeout=5)
    assert witness.judge(cluster.published[channel]) == Verdict()
    await witness.stop()


async def test_what_waits_on_the_old_connection_is_delivered() -> None:
    """A validator that takes its time leaves messages waiting that only the old connection has received."""

    def slowly(value: int) -> int:
        time.sleep(0.001)
        return value

    class Slow(Channel, name="slow"):
        t = declared(Annotated[int, AfterValidator(slowly)])

    count = 7_000
    with DevServer().in_thread() as server:
        async with Realtime(api_base_url=server.url, buffer_size=20_000) as realtime:
            subscription = await realtime.subscribe(channel=Slow(), topics=["t"])
            # This blocks the event loop: all of it has been sent before the successor is asked for.
            server.begin_closing_sync(30.0)
            for number in range(count):
                server.publish_sync("slow", "t", number)
            seen = [(await asyncio.wait_for(anext(subscription), 10)).data for _ in range(count)]
            assert seen == list(range(count))
            await subscription.close()


async def test_a_stream_that_is_cut_cuts_no_other(cluster: Cluster, realtime: Realtime, channel: str) -> None:
    """Of two data streams, the one that only the old server knows ends with it; the other goes on."""
    subscription = await realtime.subscribe(channel=channel, topics=["a", "b"])
    cut = asyncio.ensure_future(cluster.publish_stream(channel, "a", "cut", chunks=200, seconds=6.0))
    first = await anext(subscription)
    await cluster.start()
    (old, _) = cluster.servers
    await old.begin_closing(1.5)
    await until(lambda: realtime.stats().sockets == 2, timeout=3)
    whole = asyncio.ensure_future(cluster.publish_stream(channel, "b", "whole", chunks=60, seconds=3.0))
    streams = {"cut": first.stream}
    while len(streams) < 2:
        message = await asyncio.wait_for(anext(subscription), 5)
        if message.kind == "datastream-start":
            streams[message.stream_id or ""] = message.stream
    await until(lambda: realtime.stats().sockets == 1, timeout=5)
    stream, interrupted = streams["whole"], streams["cut"]
    assert stream is not None
    assert interrupted is not None
    assert "".join([chunk async for chunk in stream]) == cluster.texts["whole"]
    with pytest.raises(DataStreamInterruptedError):
        [chunk async for chunk in interrupted]
    await asyncio.gather(cut, whole)
    await cluster.stop(old)
    await subscription.close()
