"""`inngest-realtime`, as processes of their own against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from inngest_realtime_core import ClientSubscriptionToken, Realtime
from inngest_realtime_devserver.server import DevServer
from talk import DEADLINE, receive

COMMAND = [sys.executable, "-m", "inngest_realtime_cli"]
START = 60.0  # seconds for a process to start and end on a busy machine
KEY = "signkey-test-" + "ab" * 32
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
KEPT = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}


@pytest.fixture
async def start(server: DevServer) -> AsyncIterator[Start]:
    """Starts the command; the environment tells it where the server is."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *arguments,
                env={**KEPT, "INNGEST_DEV": server.url, **environment},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )

            async def end() -> None:
                if process.returncode is None:
                    process.kill()
                await process.communicate()

            stack.push_async_callback(end)
            return process

        yield start


@pytest.fixture
def server_in_thread() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    output, errors = await asyncio.wait_for(process.communicate(), START)
    return process.returncode, output.decode(), errors.decode()


async def listening(process: asyncio.subprocess.Process, channel: str) -> None:
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stderr.readline(), START)
    assert line.decode().rstrip() == f"Listening to {channel} (a, b)."


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**KEPT, **environment}
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=START, check=False)


async def test_tail_prints_each_message_as_its_json(
    server: DevServer, realtime: Realtime, start: Start, channel: str
) -> None:
    async with realtime.subscribe(channel=channel, topics=["a", "b"]) as here:
        process = await start("tail", channel, "a", "b", "--limit", "3")
        await listening(process, channel)
        for topic, data in (("a", {"text": "zwei\nZeilen ☀️"}), ("b", None), ("a", 3)):
            await server.publish(channel, topic, data)
        expected = [(await asyncio.wait_for(anext(here), DEADLINE)).to_json() for _ in range(3)]
    assert process.stdout is not None
    output = await asyncio.wait_for(process.stdout.read(), START)
    assert output == b"".join(line + b"\n" for line in expected)
    assert (await ended(process))[0] == 0


async def test_tail_prints_a_message_at_once_and_ends_on_ctrl_c(server: DevServer, start: Start, channel: str) -> None:
    process = await start("tail", channel, "a", "b")
    await listening(process, channel)
    await server.publish(channel, "a", 1)
    assert process.stdout is not None
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE))["data"] == 1
    process.send_signal(signal.SIGINT)
    assert await ended(process) == (130, "", "")
    await server.until(lambda stats: stats.open_connections == 0)


def test_ctrl_c_while_the_command_is_loading_is_no_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Slow:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pydantic':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from inngest_realtime_cli import main; sys.exit(main(['tail', 'c', 'a']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=START, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "environment", "shown"),
    [
        (
            [],
            {},
            rb"\x1b\[2m\d\d:\d\d:\d\d\.\d{3}\x1b\[0m  \x1b\[\d\dma           \x1b\[0m  "
            rb'\{"text": "zwei\\nZeilen \xe2\x98\x80 \\u001b"\}\r\n'
            rb"\x1b\[2m[\d:.]+\x1b\[0m  \x1b\[31mgap: messages may have been missed \(reconnect\)\x1b\[0m\r\n",
        ),
        (
            [],
            {"NO_COLOR": "1"},
            rb"\d\d:\d\d:\d\d\.\d{3}  a             "
            rb'\{"text": "zwei\\nZeilen \xe2\x98\x80 \\u001b"\}\r\n'
            rb"[\d:.]+  gap: messages may have been missed \(reconnect\)\r\n",
        ),
        (["--json"], {}, rb'\{"channel":.*"kind":"data".*\}\r\n\{"channel":.*"kind":"gap".*\}\r\n'),
    ],
)
async def test_tail_on_a_terminal(
    server: DevServer, channel: str, arguments: list[str], environment: dict[str, str], shown: bytes
) -> None:
    terminal, output = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("tail", channel, "a", "b", "--limit", "2", *arguments),
        env={**KEPT, "TERM": "xterm", "INNGEST_DEV": server.url, **environment},
        stdout=output,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(output)
    try:
        await listening(process, channel)
        await server.publish(channel, "a", {"text": "zwei\nZeilen \u2600 \x1b"})
        printed = await asyncio.to_thread(os.read, terminal, 4096)
        server.drop_connections()
        printed += await asyncio.to_thread(os.read, terminal, 4096)
        assert await asyncio.wait_for(process.wait(), START) == 0
    finally:
        os.close(terminal)
        if process.returncode is None:
            process.kill()
    assert re.fullmatch(shown, printed), printed


async def test_tail_prints_gaps(server: DevServer, start: Start, channel: str) -> None:
    process = await start("tail", channel, "a", "b", "--limit", "1")
    await listening(process, channel)
    server.drop_connections()
    status, output, _ = await ended(process)
    assert status == 0
    assert json.loads(output) == {"channel": channel, "kind": "gap", "data": {"reason": "reconnect", "missed": None}}


async def test_tail_ends_when_nobody_reads_it(server: DevServer, start: Start, channel: str) -> None:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("tail", channel, "a", "b"),
        env={**KEPT, "INNGEST_DEV": server.url},
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    try:
        await listening(process, channel)
        os.close(reading)
        await server.publish(channel, "a", 1)
        _, errors = await asyncio.wait_for(process.communicate(), START)
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, errors) == (0, b"")


def test_a_full_disk_and_a_closed_pipe_are_no_tracebacks(server_in_thread: DevServer) -> None:
    arguments = ["token", "c", "a"]
    environment = {**KEPT, "INNGEST_DEV": server_in_thread.url}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *arguments], env=environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"inngest-realtime: the output could not be written: No space left on device\n"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *arguments], env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "status"), [(["token", "c", "a"], 1), (["publish", "c", "a", "7"], 0), (["doctor"], 1)]
)
def test_closed_streams_are_no_tracebacks(
    server_in_thread: DevServer, arguments: list[str], status: int, tmp_path: Path
) -> None:
    """What needs no output does without."""
    environment = {**KEPT, "INNGEST_DEV": server_in_thread.url}
    command = shlex.join([*COMMAND, *arguments])
    errors = tmp_path / "errors"
    done = subprocess.run(["sh", "-c", f"{command} >&- 2>{errors}"], env=environment, check=False)
    assert done.returncode == status
    assert errors.read_text() == (
        "inngest-realtime: the output could not be written: Bad file descriptor\n" if status else ""
    )
    done = subprocess.run(["sh", "-c", f"{command} 2>&-"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stdout


async def test_tail_says_in_a_line_why_it_cannot_go_on(server: DevServer, start: Start, channel: str) -> None:
    process = await start("tail", channel, "a", "b")
    await listening(process, channel)
    server.reject_tokens(401)
    server.drop_connections()
    status, _, errors = await ended(process)
    assert status == 1
    # The log says that the connection was lost, and then why there will be no other.
    *told, last = errors.splitlines()
    assert re.fullmatch(r"inngest-realtime: .*401.*", last)
    assert told
    assert all("connection to Inngest was lost" in line for line in told)


async def test_publish(server: DevServer, realtime: Realtime, start: Start, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["a"]) as stream:
        for text in ('{"done": 3}', '"ein Text ☀️"', "-7"):
            process = await start("publish", channel, "a", text, INNGEST_DEV="1", INNGEST_API_BASE_URL=server.url)
            assert await ended(process) == (0, "", "")
        assert await receive(stream, 3) == [{"done": 3}, "ein Text ☀️", -7]


async def test_token_prints_what_a_browser_takes(channel: str) -> None:
    async with DevServer(signing_key=KEY) as server:
        arguments = ["token", channel, "a", "b", "--api-base-url", server.url]
        done = await asyncio.to_thread(run, *arguments, INNGEST_DEV="1", INNGEST_SIGNING_KEY=KEY)
        assert (done.returncode, done.stderr) == (0, "")
        printed = json.loads(done.stdout)
        assert printed.keys() == {"key", "apiBaseUrl"}
        assert printed["apiBaseUrl"] == server.url
        claims = ClientSubscriptionToken(printed["key"], server.url).read_claims_unverified()
        assert [(topic.channel, topic.name) for topic in claims.topics] == [(channel, "a"), (channel, "b")]

        refused = await asyncio.to_thread(run, *arguments, INNGEST_DEV="1", INNGEST_SIGNING_KEY=KEY[:-2] + "00")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(r"inngest-realtime: .*401.*\n", refused.stderr)
        assert KEY[:-2] not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["tail", "", "a"], {"INNGEST_DEV": "1"}, "channel"),
        (["token", "c", "a"], {}, "INNGEST_SIGNING_KEY"),
        (["publish", "c", "a", "NaN"], {"INNGEST_DEV": "1"}, "nan"),
        (["tail", "c", "a", "--api-base-url", "ftp://x"], {}, "api_base_url"),
        (["tail", "c", "a"], {"INNGEST_DEV": "http://127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)
def test_what_fails_is_said_in_a_line(arguments: list[str], environment: dict[str, str], says: str) -> None:
    done = run(*arguments, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"inngest-realtime: .*{re.escape(says)}.*\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["tail", "c"], "TOPIC"),
        (["tail", "c", "a", "--limit", "0"], "at least 1"),
        (["publish", "c", "a", "text"], "a text needs quotes"),
        (["token", "c", "a", "--signing-key", KEY], "unrecognized arguments"),
    ],
)
def test_wrong_arguments(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_the_commands_and_warns_of_the_token() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("tail", "token", "publish", "doctor", "devserver", "INNGEST_SIGNING_KEY"):
        assert name in done.stdout
    assert "PRINT" in run("token", "--help").stdout


def test_devserver_has_the_options_of_the_module() -> None:
    module = [sys.executable, "-m", "inngest_realtime_devserver", "--help"]
    wanted = subprocess.run(module, capture_output=True, text=True, timeout=START, check=True).stdout
    shown = run("devserver", "--help").stdout
    assert "usage: inngest-realtime devserver" in shown
    assert set(re.findall(r"--[\w-]+", shown)) == set(re.findall(r"--[\w-]+", wanted))


async def test_devserver_serves_until_ctrl_c(start: Start) -> None:
    process = await start("devserver", "--port", "0")
    assert process.stdout is not None
    match = re.search(rb"http://127\.0\.0\.1:\d+", await asyncio.wait_for(process.stdout.readline(), START))
    assert match is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(f"{match[0].decode()}/v1/realtime/token", json=[])).status_code == 201
    process.send_signal(signal.SIGINT)
    status, _, errors = await ended(process)
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "wsproto"])
def test_devserver_names_the_extra_that_is_missing(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from inngest_realtime_cli import main; sys.exit(main(['devserver', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=START, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"inngest-realtime: .*{package}.*inngest-realtime\[cli\].*\n", done.stderr)


def test_the_core_does_not_import_the_command() -> None:
    code = "import sys, inngest_realtime_core; print('inngest_realtime_cli' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=START, check=True)
    assert done.stdout == "False\n"
