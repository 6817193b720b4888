"""`python -m inngest_realtime_devserver`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

COMMAND = [sys.executable, "-m", "inngest_realtime_devserver"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "--port", "0", "--signing-key", "signkey-test-" + "ab" * 32]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
