"""A Redis that is hung, full, locked, emptied or started anew: what that costs, and what the log says."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

import pytest

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from inngest_realtime_redis.clients import Executor
from inngest_realtime_redis.trouble import Trouble
from test_redis_replay import RedisServer, channel, own, page, pytestmark, until, worker

__all__ = ["channel", "own", "pytestmark"]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "inngest_realtime")
    return caplog


def events(log: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of Redis, and not of the connections to Inngest, which fail under load, too."""
    found = [str(record.__dict__["event"]).partition(".") for record in log.records if "event" in record.__dict__]
    return [what for subject, _, what in found if subject in ("replay", "redis")]


async def test_a_hung_redis_is_waited_for_once(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture
) -> None:
    async with worker(server, own) as one, page(one, channel) as reading:
        await one.publish((channel, "t"), 0)
        assert await reading.read(1) == [0]
        waits: list[float] = []
        began = time.monotonic()
        with own.hung():
            # Longer than it takes until Redis has been asked again, and has not answered again.
            while time.monotonic() - began < 7.0:
                before = time.monotonic()
                await one.publish((channel, "t"), len(waits) + 1)
                waits.append(time.monotonic() - before)
                assert await reading.read(1) == [len(waits)]
                await asyncio.sleep(0.05)
        assert 1.9 < waits[0] < 2.6
        assert max(waits[1:]) < 1.0
        assert events(log) == ["failed"]
        assert "does not reply in time" in log.text
        await until(lambda: events(log) == ["failed", "restored"])
        await one.publish((channel, "t"), "kept again")
        await until(lambda: own.client.keys(f"*{{{channel}}}:order"))


async def test_a_connection_that_has_not_answered_is_not_used_again(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture
) -> None:
    async with worker(server, own) as one, page(one, channel) as reading:
        await server.publish(channel, "t", "recorded as it is received")
        await until(lambda: own.client.keys(f"*{{{channel}}}:order"))
        began = time.monotonic()
        with own.hung():
            await server.publish(channel, "t", 2)
            assert await reading.read(2) == ["recorded as it is received", 2]
            # Longer than it takes until Redis has been asked again, and has not answered again.
            await until(lambda: time.monotonic() - began > 7.0, seconds=20)
        assert events(log) == ["failed"]
        assert "does not reply in time" in log.text


async def test_who_waits_for_a_command_that_is_given_up_at_the_end_is_not_cancelled() -> None:
    execute = Executor(10.0)
    command: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(execute(command))
    await until(lambda: bool(asyncio.all_tasks() - {asyncio.current_task(), waiting}))
    await execute.close()
    with pytest.raises(TimeoutError):
        await waiting


@pytest.mark.parametrize("signing_key", ["signkey-test-ab12", None])
def test_each_call_of_its_own_event_loop_does_not_wait_anew(
    own: RedisServer, channel: str, log: pytest.LogCaptureFixture, signing_key: str | None
) -> None:
    with DevServer(signing_key=signing_key or "").in_thread() as server:
        realtime = Realtime(api_base_url=server.url, signing_key=signing_key, replay=RedisReplay(own.url))

        def publish() -> float:
            began = time.monotonic()
            asyncio.run(realtime.publish((channel, "t"), 1))
            return time.monotonic() - began

        publish()
        connections = own.client.info("stats")["total_connections_received"]
        with own.hung():
            waits = [publish() for _ in range(4)]
        assert sum(wait > 1.0 for wait in waits) == 1
        # Of the first of them, and of this look.
        assert own.client.info("stats")["total_connections_received"] - connections <= 3
        assert events(log) == ["failed"]


def test_where_no_event_loop_lives_to_find_out_a_call_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble, now = Trouble(), time.monotonic()
    trouble.begins(TimeoutError())
    assert trouble.is_away
    monkeypatch.setattr(time, "monotonic", lambda: now + 31)
    assert trouble.lasts
    assert not trouble.is_away


@pytest.mark.parametrize("doing", ["publishing", "reading"])
async def test_full_memory_is_named_once_and_lasts_until_there_is_room(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture, doing: str
) -> None:
    own.client.config_set("maxmemory-policy", "noeviction")
    async with worker(server, own) as one:
        await one.publish((channel, "t"), "kept")
        own.client.config_set("maxmemory", "1")
        began = time.monotonic()
        while time.monotonic() - began < 5.0:
            if doing == "publishing":
                await one.publish((channel, "t"), "lost")
            else:
                async with one.subscribe(channel=f"{channel}.other", topics=["t"], rewind="all"):
                    pass
            await asyncio.sleep(0.1)
        # Not over as long as nothing can be written, though such a Redis answers a ping.
        assert events(log) == ["failed"]
        assert "its memory is full (maxmemory)" in log.text
        assert "ResponseError" not in log.text
        assert one.stats().replay_ok is False
        own.client.config_set("maxmemory", "0")
        await until(lambda: events(log) == ["failed", "restored"])
        assert one.stats().replay_ok is True
        await one.publish((channel, "t"), "kept again")
        async with page(one, channel, rewind=1) as late:
            assert await late.read(1) == ["kept again"]


@pytest.mark.parametrize("auth", ["", ":wrong-secret@"])
async def test_a_wrong_password_is_named(
    server: DevServer, tmp_path: Path, channel: str, log: pytest.LogCaptureFixture, auth: str
) -> None:
    locked = RedisServer(tmp_path, "--requirepass", "right-secret")
    try:
        url = locked.url.replace("unix://", f"unix://{auth}")
        async with Realtime(api_base_url=server.url, replay=RedisReplay(url)) as one:
            for _ in range(20):
                await one.publish((channel, "t"), 1)
            async with one.subscribe(channel=channel, topics=["t"]) as subscription:
                await one.publish((channel, "t"), 2)
                message = await subscription.receive(timeout=5)
                assert message is not None
                assert message.data == 2
        assert events(log) == ["failed"]
        assert "it rejects the password" in log.text
        assert "secret" not in log.text + repr(one.stats())
    finally:
        locked.stop()


async def test_after_a_restart_it_keeps_again_what_comes(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture
) -> None:
    async with worker(server, own) as one, worker(server, own) as two:
        await one.publish((channel, "t"), "gone with the restart")
        own.stop()
        own.start()
        await until(lambda: own.client.ping())
        # Scripts and connections are gone as well.
        for number in range(3):
            await one.publish((channel, "t"), number)
        await until(lambda: one.stats().replay_ok is True)
        await one.publish((channel, "t"), "kept")
        async with page(two, channel, rewind="all") as late:
            seen = await late.read(1)
            while seen[-1] != "kept":
                seen += await late.read(1)
        assert "gone with the restart" not in seen
        assert events(log) in ([], ["failed", "restored"])


async def test_an_emptied_redis_keeps_what_comes_afterwards(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own) as one, worker(server, own) as two:
        async with page(one, channel) as reading:
            await one.publish((channel, "t"), 1)
            assert await reading.read(1) == [1]
            own.client.flushall()
            own.client.script_flush()
            await one.publish((channel, "t"), 2)
            assert await reading.read(1) == [2]
        async with page(two, channel, rewind="all") as late:
            assert await late.read(1) == [2]


def test_a_redis_that_comes_and_goes_fills_no_log(log: pytest.LogCaptureFixture) -> None:
    trouble = Trouble()
    for _ in range(50):
        trouble.begins(TimeoutError())
        trouble.ends()
    assert events(log) == ["failed", "restored"]
    trouble.begins(ConnectionError())  # another cause
    assert events(log) == ["failed", "restored", "failed"]


async def test_what_waits_is_written_at_the_end(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own, namespace="n") as one:
        await one.publish_stream((channel, "t"), ["text"])
    assert own.client.hexists(f"inngest-realtime:n:{{{channel}}}:state", "mixed")


async def test_what_has_expired_is_told_of(server: DevServer, own: RedisServer, channel: str) -> None:
    async with worker(server, own, max_age=0.1) as one, worker(server, own, max_age=0.1) as two:
        async with page(one, channel) as before:
            await before.opened()
        await one.publish((channel, "t"), "expired")
        await until(lambda: not own.client.keys(f"*{{{channel}}}:order"), seconds=20)
        async with page(two, channel, before.id) as back:
            assert await back.read(1) == ["expired"]
            await two.publish((channel, "t"), "kept")
            assert await back.read(1) == ["kept"]


@pytest.mark.parametrize("names", [["order"], ["data"], ["state"], ["order", "data", "seen", "state"]])
async def test_a_redis_that_evicts_keys_costs_a_gap(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture, names: list[str]
) -> None:
    """As one with `maxmemory-policy allkeys-lru` does, one key at a time."""
    async with worker(server, own) as one, worker(server, own) as two:
        async with page(one, channel) as before:
            await before.opened()
        await one.publish((channel, "t"), "evicted")
        key = own.client.keys(f"*{{{channel}}}:state")[0].decode().removesuffix("state")
        own.client.delete(*(key + name for name in names))
        async with page(two, channel, before.id) as back:
            assert await back.read(1) == ["expired"]
            id = back.id
        # And what comes afterwards is kept, in spite of what was counted before.
        await one.publish((channel, "t"), "kept")
        async with page(one, channel, id) as back:
            assert await back.read(1) == ["kept"]
        assert int(own.client.hget(key + "state", "bytes")) < 1_000
        assert events(log) == []


@pytest.mark.parametrize("name", ["order", "data", "seen", "state"])
async def test_keys_of_another_application_cost_their_channel_alone(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture, name: str
) -> None:
    async with worker(server, own, namespace="n") as one, worker(server, own, namespace="n") as two:
        other = f"{channel}.other"
        key = f"inngest-realtime:n:{{{other}}}:{name}"
        own.client.lpush(key, "x")
        await one.publish((other, "t"), 1)
        async with page(two, other) as reading, page(two, channel) as beside:
            await one.publish((other, "t"), 2)
            assert await reading.read(1) == [2]
            await one.publish((channel, "t"), 1)
            assert await beside.read(1) == [1]
        async with page(one, channel, rewind="all") as late:
            assert await late.read(1) == [1]
        assert one.stats().replay_ok is True
        assert set(events(log)) <= {"unreadable"}


async def test_a_process_that_stands_still_does_not_take_redis_for_away(
    server: DevServer, own: RedisServer, channel: str, log: pytest.LogCaptureFixture
) -> None:
    """An event loop that is blocked, or a machine that swaps: the answer has come, and is not read in time."""
    async with worker(server, own) as one:
        await one.publish((channel, "t"), 1)
        with own.hung():
            publishing = asyncio.create_task(one.publish((channel, "t"), 2))
            for _ in range(100):
                await asyncio.sleep(0)
        time.sleep(2.5)  # noqa: ASYNC251 (what is tested)
        await publishing
        stats = one.stats()
        assert (stats.replay_ok, stats.replay_error) == (True, None)
    assert not log.records


def numbered(own: RedisServer, channel: str) -> dict[int, bool]:
    """By data, whether what Redis keeps of a channel has a number."""
    kept = [value.split(b" ", 3) for value in own.client.hvals(f"inngest-realtime:n:{{{channel}}}:data")]
    return {json.loads(content)["data"]: int(number) > 0 for number, _, _, content in kept}


async def test_what_was_sent_without_a_number_gets_none_later(
    server: DevServer, own: RedisServer, channel: str
) -> None:
    """A client that had the message would get it once more."""
    quiet = worker(server, own, namespace="n", published=False)
    async with worker(server, own, namespace="n") as one, quiet, page(one, channel) as reading:
        await one.publish((channel, "t"), 1)
        with own.hung():
            # Redis does it late.
            await one.publish((channel, "t"), 2)
        await until(lambda: one.stats().replay_ok is True)
        await quiet.publish((channel, "t"), 3, id="again")
        await until(lambda: 3 in numbered(own, channel))
        await one.publish((channel, "t"), 3, id="again")
        await one.publish((channel, "t"), 4)
        assert await reading.read(4) == [1, 2, 3, 4]
        found = numbered(own, channel)
        assert not found.pop(2, False)
        assert found == {1: True, 3: False, 4: True}
