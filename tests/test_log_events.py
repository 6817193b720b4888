"""Every line of the log has the stable name of its event, and the documentation lists them."""

from __future__ import annotations

import ast
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inngest_realtime_core import Channel, Message, Realtime, topic
from inngest_realtime_devserver.server import DevServer
from talk import eventually, receive

ROOT = Path(__file__).parent.parent
SHOWN = ("info", "warning", "error", "exception", "critical")
CALLS = {("_log", "write"), ("_outages", "write"), *(("logger", name) for name in SHOWN)}
LOGGERS = ROOT / "docs" / "observability.md"


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted([*(ROOT / "inngest_realtime_core").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value).removeprefix("self.")
                if (owner, node.func.attr) in CALLS:
                    yield f"{path.name}:{node.lineno}", node


def event_of(call: ast.Call) -> str | None:
    for keyword in call.keywords:
        if keyword.arg == "event":
            return str(ast.literal_eval(keyword.value))
        if keyword.arg == "extra":
            return str(ast.literal_eval(keyword.value)["event"])
    return None


def test_each_line_names_its_event_and_the_page_lists_them() -> None:
    found = {place: event_of(call) for place, call in calls()}
    assert not [place for place, event in found.items() if event is None]
    page = LOGGERS.read_text()
    listed = set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (?:info|warning|error)", page, re.MULTILINE))
    assert listed == set(found.values())


def test_each_event_has_the_level_that_the_page_says_and_what_to_do() -> None:
    page = LOGGERS.read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([a-z, ]+) \| .{12,} \|$", page, re.MULTILINE))
    for place, call in calls():
        assert isinstance(call.func, ast.Attribute)
        level = ast.unparse(call.args[0]) if call.func.attr == "write" else call.func.attr
        level = {
            "logging.INFO": "info",
            "logging.WARNING": "warning",
            "logging.ERROR": "error",
            "exception": "error",
        }.get(level, level)
        assert level in rows[event_of(call) or ""].split(", "), f"{place}: {level}"


def test_the_page_lists_the_loggers() -> None:
    """The names that an operator configures: those below `inngest_realtime`."""
    sources = [*(ROOT / "inngest_realtime_core").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]
    made = {
        name.partition(".")[2]
        for path in sources
        for name in re.findall(r'getLogger\("(inngest_realtime[\w.]*)"\)', path.read_text())
    }
    assert not [path for path in sources if "getLogger(__name__)" in path.read_text()]
    (table,) = re.findall(r"^\| logger, after.*\n\|---.*\n((?:\|.*\n?)+)", LOGGERS.read_text(), re.MULTILINE)
    listed = {name for row in table.splitlines() for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    assert listed == made - {""}


async def test_a_lost_connection_and_its_return(
    server: DevServer, realtime: Realtime, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as stream:
        server.reject_tokens(503)
        server.drop_connections()
        await eventually(lambda: "connection.failed" in events(caplog))
        server.reject_tokens(None)
        assert (await receive(stream, 1))[0].reason == "reconnect"
    # One line for a failure that repeats.
    assert events(caplog) == ["connection.lost", "connection.failed", "connection.restored"]
    assert all(record.levelno == logging.WARNING for record in caplog.records if hasattr(record, "event"))


async def test_an_outage_of_many_connections_is_a_line_a_second(
    server: DevServer, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Realtime(api_base_url=server.url, multiplex=False) as realtime:
        for number in range(20):
            await realtime.subscribe(channel=f"{channel}{number}", topics=["t"], on_message=print)
        server.drop_connections()
        await eventually(lambda: realtime.stats().reconnects == 20)
    found = events(caplog)
    assert {"connection.lost", "connection.restored"} <= set(found)
    assert len(found) <= 10


async def test_a_process_that_stops_with_streams_open_says_so_once(
    server: DevServer, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers replace workers without a word."""
    caplog.set_level(logging.INFO, "inngest_realtime")
    realtime = Realtime()

    async def streams() -> list[AsyncIterator[bytes]]:
        opened = [await realtime.subscribe(channel=channel, topics=[name]) for name in ("a", "b")]
        bodies = [each.get_event_stream() for each in opened]
        for body in bodies:
            await anext(body)
        return bodies

    # The end of a test's block is no end of a process.
    with realtime.override(api_base_url=server.url):
        bodies = await streams()
    for body in bodies:
        assert [block async for block in body]
    assert events(caplog) == ["streams.began"]
    caplog.clear()
    with realtime.override(api_base_url=server.url):
        bodies = await streams()
        realtime.begin_shutdown()
        realtime.begin_shutdown()
        for body in bodies:
            assert [block async for block in body]
    assert events(caplog) == ["streams.began", "streams.ended"]
    assert f"Process {os.getpid()} stops and ends its open event streams (2)" in caplog.text
    await realtime.close()


class Job(Channel, name="log:{job_id}"):
    job_id: str
    number = topic(int)


async def test_what_messages_and_callbacks_repeat_is_one_line(
    realtime: Realtime, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    read: list[object] = []

    def fail(message: Message[object]) -> None:
        read.append(message)
        raise LookupError("where to mend it")

    job = Job(job_id=channel.replace(":", "-"))
    async with realtime.subscribe(channel=job, on_message=fail):
        for _ in range(3):
            await realtime.publish((job.name, "number"), "no number")
            await realtime.publish((job.name, "number"), 1)
        await eventually(lambda: len(read) == 3)
    assert sorted(events(caplog)) == ["callback.failed", "message.invalid"]
    assert "LookupError" in caplog.text


async def test_what_render_repeats_is_one_line(
    realtime: Realtime, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    def render(message: Message[object]) -> str | None:
        if message.kind == "data" and message.data == "last":
            return "<p>last</p>"
        raise LookupError("where to mend it")

    async with realtime.subscribe(channel=channel, topics=["t"]) as stream:
        events_of = stream.get_event_stream(render=render)
        for data in ("a", "b", "last"):
            await realtime.publish((channel, "t"), data)
        async for piece in events_of:
            if b"<p>last</p>" in piece:
                break
    assert events(caplog) == ["render.failed"]
    assert "LookupError" in caplog.text


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(record.__dict__["event"]) for record in caplog.records if "event" in record.__dict__]
