"""What users' own tests are given, used as they use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_devserver.testing import Event, parse_events, receive, receive_sync

SUITE = """
import inngest
from inngest_realtime_core import Realtime
from inngest_realtime_devserver.testing import parse_events, receive, receive_sync

def test_sync(inngest_realtime_env):
    realtime = Realtime()
    with realtime.subscribe_sync(channel="c", topics=["t"]) as stream:
        realtime.publish_sync(("c", "t"), 1)
        assert [message.data for message in receive_sync(stream, 1)] == [1]
    assert inngest_realtime_env.stats().publishes == 1
    realtime.close_sync()

async def test_async(inngest_realtime_server):
    async with Realtime(api_base_url=inngest_realtime_server.url) as realtime:
        async with realtime.subscribe(channel="c", topics=["t"]) as stream:
            events = stream.get_event_stream()
            chunks = [await anext(events)]
            await realtime.publish(("c", "t"), 1)
            chunks.append(await anext(events))
            ready, event = parse_events(chunks)
            assert (ready.event, event.json()["data"]) == ("ready", 1)
            assert [message.data for message in await receive(stream, 1)] == [1]
            await events.aclose()

def test_the_inngest_package_finds_it(inngest_realtime_env):
    app = inngest.Inngest(app_id="app")
    assert app.api_origin == inngest_realtime_env.url
    assert Realtime(app).settings.api_base_url == inngest_realtime_env.url
"""


def test_as_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["inngest_realtime_devserver.testing"]\n')
    (tmp_path / "test_application.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    command += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


async def test_too_few_messages(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await realtime.publish((channel, "t"), 1)
        with pytest.raises(TimeoutError, match=r"1 of 2 messages came within 0\.05 s"):
            await receive(subscription, 2, timeout=0.05)
        await subscription.close()
        with pytest.raises(EOFError, match="ended after 0 of 1"):
            await receive(subscription, 1)


def test_too_few_messages_in_a_thread(channel: str) -> None:
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url, linger=0)
        with realtime.subscribe_sync(channel=channel, topics=["t"]) as subscription:
            with pytest.raises(TimeoutError, match="0 of 1"):
                receive_sync(subscription, 1, timeout=0.05)
            subscription.close()
            with pytest.raises(EOFError):
                receive_sync(subscription, 1)
        realtime.close_sync()


def test_parsing_events() -> None:
    body = (
        b'retry: 1000\n: open\n\nid: a.b\ndata: {"x":\ndata: 1}\n\nevent: gap\ndata:{}\r\n\r\n'
        b": heartbeat\n\ndata: \xe2\x80\xa8\n\ndata: incomplete\n"
    )
    events = parse_events(body)
    assert events == [Event('{"x":\n1}', id="a.b"), Event("{}", "gap"), Event("\u2028")]
    assert events[0].json() == {"x": 1}
    assert parse_events([body[:10], body[10:]]) == parse_events(body.decode()) == events


LINES = [
    "data: x",
    "data:",
    "data: \u00e4\u2028",
    ": heartbeat",
    "event: gap",
    "id: a.b",
    "retry: 5",
    "",
    "",
    "nonsense",
]


@given(
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n", "\r"])), max_size=12),
    st.lists(st.integers(0, 80), max_size=6),
)
def test_how_a_body_is_cut_makes_no_difference(lines: list[tuple[str, str]], cuts: list[int]) -> None:
    body = "".join(line + end for line, end in lines).encode()
    places = sorted({min(cut, len(body)) for cut in cuts})
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    assert parse_events(pieces) == parse_events(body)
    plain = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # A body that ends in CR might go on with LF, which is the same line break.
    if not body.endswith(b"\r"):
        assert parse_events(plain) == parse_events(body)
