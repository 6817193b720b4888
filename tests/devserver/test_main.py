"""`python -m inngest_realtime_devserver`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

COMMAND = [sys.executable, "-m", "inngest_realtime_devserver"]
KEPT = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    environment = {**KEPT, "INNGEST_SIGNING_KEY": "signkey-test-" + "ab" * 32}
    command = [*COMMAND, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_is_and_where_and_ends_on_a_signal(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert "DEVELOPMENT ONLY" in line
    match = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert match is not None
    assert httpx.post(f"{match[0]}/v1/realtime/token", json=[], trust_env=False).status_code == 401
    process.send_signal(number)
    assert process.wait(5) == 0
    assert process.stderr.read() == ""


def test_a_taken_port_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 1
    assert port in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--port", "65536"], 2, "from 0 to 65535"),
        (["--port", "-1"], 2, "from 0 to 65535"),
        (["--port", "9" * 5000], 2, "from 0 to 65535"),
        (["--keepalive", "0"], 2, "seconds"),
        (["--token-ttl", "nan"], 2, "seconds"),
        (["--closing-grace", "inf"], 2, "seconds"),
        (["--signing-key", "signkey-test-" + "ab" * 32], 2, "unrecognized arguments"),
        (["--host", "0.0.0.0"], 1, "--allow-remote"),
        (["--host", "no.such.host.invalid", "--allow-remote"], 1, "could not start"),
    ],
)
def test_what_is_wrong_is_said_in_words(arguments: list[str], status: int, says: str) -> None:
    run = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False, env=KEPT)
    assert run.returncode == status
    assert says in run.stderr
    assert "Traceback" not in run.stderr


def test_a_malformed_signing_key_is_not_shown() -> None:
    environment = {**KEPT, "INNGEST_SIGNING_KEY": "signkey-test-notHex"}
    run = subprocess.run(COMMAND, capture_output=True, text=True, timeout=20, check=False, env=environment)
    assert run.returncode == 1
    assert "not hexadecimal" in run.stderr
    assert "notHex" not in run.stderr


@pytest.mark.parametrize("output", ["closed pipe", "full disk"])
def test_it_serves_though_nobody_can_read_what_it_says(output: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reading, writing = os.pipe()
    os.close(reading)
    if output == "full disk":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    command = [*COMMAND, "--port", str(port)]
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=KEPT)
    os.close(writing)
    with process:
        deadline = time.monotonic() + 20
        while True:
            try:
                response = httpx.post(f"http://127.0.0.1:{port}/v1/realtime/token", json=[], trust_env=False)
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert response.status_code == 201
        process.terminate()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0
