"""A Redis that answers with an error: the log says in words why, and nobody takes what is not known for nothing."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from inngest_realtime_core import ConfigurationError, Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_redis import RedisReplay
from inngest_realtime_redis.trouble import Trouble
from test_redis_replay import RedisServer, channel, own, page, pytestmark, until, worker

__all__ = ["channel", "own", "pytestmark"]

UNNAMED = "look at Redis' own log"


@contextmanager
def replica(own: RedisServer) -> Generator[None]:
    own.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    own.client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def configured(own: RedisServer, name: str, value: str) -> Generator[None]:
    before = own.client.config_get(name)[name]
    own.client.config_set(name, value)
    yield
    own.client.config_set(name, before)


@contextmanager
def lost_replica(own: RedisServer) -> Generator[None]:
    with configured(own, "replica-serve-stale-data", "no"), replica(own):
        yield


@contextmanager
def unsaved(own: RedisServer) -> Generator[None]:
    client = own.client
    blocked = Path(client.config_get("dir")["dir"], "dump.rdb")
    blocked.mkdir()
    with configured(own, "save", "3600 1"):
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] != "err":
            pass
        yield
    blocked.rmdir()


@contextmanager
def busy(own: RedisServer) -> Generator[None]:
    def run() -> None:
        with suppress(redis.exceptions.ResponseError):
            own.client.eval("while true do end", 0)

    with configured(own, "lua-time-limit", "1"):
        thread = threading.Thread(target=run)
        thread.start()
        with suppress(redis.exceptions.ResponseError):
            while own.client.ping():
                pass
        yield
        own.client.script_kill()
        thread.join()


@contextmanager
def without_rights(own: RedisServer) -> Generator[None]:
    own.client.execute_command("ACL", "SETUSER", "default", "-hset")
    yield
    own.client.execute_command("ACL", "SETUSER", "default", "+@all")


BREAKS: dict[str, Callable[[RedisServer], Any]] = {
    "it is a replica, which takes no writes": replica,
    "it is a replica that has lost its primary": lost_replica,
    "it cannot save its data": unsaved,
    "a script keeps it busy": busy,
    "the user may not run these commands": without_rights,
    "its memory is full": lambda own: configured(own, "maxmemory", "1"),
    "it does not reply in time": RedisServer.hung,
}


@pytest.mark.parametrize("says", BREAKS)
async def test_a_cause_has_words_and_what_is_not_known_is_a_gap(
    server: DevServer, own: RedisServer, channel: str, caplog: pytest.LogCaptureFixture, says: str
) -> None:
    caplog.set_level(logging.WARNING, "inngest_realtime")
    async with worker(server, own) as publisher, worker(server, own) as one, worker(server, own) as two:
        async with page(one, channel) as before:
            await publisher.publish((channel, "t"), "kept")
            assert await before.read(1) == ["kept"]
        await two.publish((f"{channel}.warm", "t"), 0)
        with BREAKS[says](own):
            await publisher.publish((channel, "t"), "lost")

            def look() -> list[Any]:
                with two.subscribe_sync(channel=channel, topics=["t"], rewind="all") as late:
                    two.publish_sync((channel, "t"), "live")
                    messages = [late.receive(timeout=10) for _ in range(2)]
                # Else it asks the Redis of this test for the rest of the process.
                two.close_sync()
                return [m.data.reason if m.kind == "gap" else m.data for m in messages if m is not None]

            assert await asyncio.to_thread(look) == ["expired", "live"]
            async with page(two, channel, rewind="all") as late, page(one, channel, before.id) as back:
                assert await late.read(1) == await back.read(1) == ["expired"]
                await publisher.publish((channel, "t"), "live")
                assert await late.read(1) == await back.read(1) == ["live"]
            assert publisher.stats().replay_ok is False
            assert says in (publisher.stats().replay_error or "")
        await until(lambda: all(each.stats().replay_ok for each in (publisher, one, two)))
        await publisher.publish((channel, "t"), "kept again")
        async with page(two, channel, rewind=1) as late:
            assert await late.read(1) == ["kept again"]
        # What was not kept is missing among what is.
        async with page(one, channel, before.id) as back:
            assert await back.read(1) == ["expired"]
    assert says in caplog.text
    assert UNNAMED not in caplog.text
    assert "ResponseError" not in caplog.text


async def test_who_cannot_be_reached_is_named_without_the_password(server: DevServer, channel: str) -> None:
    url = "redis://user:secret@127.0.0.1:1/0"
    async with Realtime(api_base_url=server.url, replay=RedisReplay(url)) as one:
        await one.publish((channel, "t"), 1)
        error = one.stats().replay_error or ""
        assert "it cannot be reached (Error 111 connecting to 127.0.0.1:1." in error
        assert "secret" not in error
        assert "user" not in error


def test_a_password_that_would_be_taken_for_a_host_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="%2F") as refused:
        RedisReplay("redis://user:123/secret@127.0.0.1:6379/0")
    assert "secret" not in str(refused.value)
    RedisReplay("redis://user:123%2Fsecret@127.0.0.1:6379/0?client_name=a@b")


TEXTS = {
    "OOM": ("command not allowed when used memory > 'maxmemory'.", "memory is full"),
    "READONLY": ("You can't write against a read only replica.", "takes no writes"),
    "MASTERDOWN": ("Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "lost its primary"),
    "NOREPLICAS": ("Not enough good replicas to write.", "too few of its replicas"),
    "MISCONF": ("Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.", "save"),
    "LOADING": ("Redis is loading the dataset in memory", "it is loading its data"),
    "BUSY": ("Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "keeps it busy"),
    "NOPERM": ("this user has no permissions to run the 'evalsha' command", "may not run"),
    "NOAUTH": ("Authentication required.", "rejects the password"),
    "WRONGPASS": ("invalid username-password pair or user is disabled.", "rejects the password"),
    "NOSCRIPT": ("No matching script. Please use EVAL.", "forgets scripts"),
    "CLUSTERDOWN": ("Hash slot not served", "its cluster is down"),
    "MOVED": ("3999 127.0.0.1:6381", "one node of a cluster"),
    "ASK": ("3999 127.0.0.1:6381", "one node of a cluster"),
    "TRYAGAIN": ("Multiple keys request during rehashing of slot", "one node of a cluster"),
    "CROSSSLOT": ("Keys in request don't hash to the same slot", "one node of a cluster"),
    "DENIED": ("Redis is running in protected mode because protected mode is enabled", "protected mode"),
    "ERR": ("max number of clients reached", "as many connections"),
    "ERR ": ("unknown command 'EVALSHA', with args beginning with: 'OOM' 'secret'", "does not know a command"),
}


async def answers(
    answer: str, scripts: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A Redis that knows the time, no script, and one answer to scripts that it has been told."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            count = int((await reader.readuntil(b"\r\n"))[1:])
            command: list[bytes] = []
            for _ in range(count):
                size = int((await reader.readuntil(b"\r\n"))[1:])
                command.append((await reader.readexactly(size + 2))[:-2])
            match command[0]:
                case b"CLIENT":
                    writer.write(b"+OK\r\n")
                case b"TIME":
                    writer.write(b"*2\r\n$%d\r\n%d\r\n$1\r\n0\r\n" % (len(str(int(time.time()))), time.time()))
                case b"SCRIPT" if command[1] == b"LOAD":
                    scripts.append(command[2])
                    writer.write(b"$4\r\n12ab\r\n")
                case b"EVALSHA" if not scripts:
                    writer.write(b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
                case _:
                    writer.write(f"-{answer}\r\n".encode())
    writer.close()


@pytest.mark.parametrize("code", TEXTS)
async def test_every_code_has_words(server: DevServer, code: str) -> None:
    text, says = TEXTS[code]
    plain = f"{code.strip()} {text}"
    in_scripts = (
        f"{plain} script: 12ab, on @user_script:1.",
        f"ERR Error running script (call to f_12ab): @user_script:1: @user_script: 1: -{plain}",
    )
    for answer in (plain, *(() if code in ("MOVED", "ASK") else in_scripts)):
        async with await asyncio.start_server(functools.partial(answers, answer, []), "127.0.0.1", 0) as listening:
            host, port = listening.sockets[0].getsockname()
            replay = RedisReplay(f"redis://{host}:{port}?protocol=2", namespace="n")
            async with Realtime(api_base_url=server.url, signing_key="signkey-test-ab12", replay=replay) as one:
                await one.publish(("c", "t"), 1)
                error = one.stats().replay_error or ""
                assert says in error
                assert "secret" not in error


def test_what_is_not_known_is_repeated_without_what_it_was_given() -> None:
    trouble = Trouble()
    trouble.begins(redis.exceptions.ResponseError("ODD something of one's own, with args beginning with: 'secret'"))
    error = (trouble.health and trouble.health.last_error) or ""
    assert "ODD something of one's own" in error
    assert UNNAMED in error
    assert "secret" not in error
