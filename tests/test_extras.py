"""What is installed says its version, and what is missing is a sentence."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters import ADAPTERS, frameworks_of
from inngest_realtime_core import Realtime, UnexpectedResponseError, __version__
from raw_server import http_answer, raw_server

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        *((f"inngest_realtime_{name}", needed, name) for name in ADAPTERS for needed in frameworks_of(name)),
        ("inngest_realtime_redis", "redis", "redis"),
        ("inngest_realtime_functions", "inngest", "inngest"),
        ("inngest_realtime_otel", "opentelemetry", "otel"),
        ("inngest_realtime_devserver", "uvicorn", "devserver"),
        ("inngest_realtime_devserver", "wsproto", "devserver"),
    ],
)
def test_a_missing_extra_is_a_sentence(module: str, missing: str, extra: str) -> None:
    done = run(f"import sys; sys.modules[{missing!r}] = None\nfrom {module} import *")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {module} needs {missing}, which is not installed. Install the extra: "
        f'pip install "inngest-realtime[{extra}]"'
    )


@pytest.mark.parametrize("missing", ["uvicorn", "wsproto", "starlette"])
def test_the_embedded_server_as_a_program_needs_its_extra(missing: str) -> None:
    done = run(
        f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv = ['devserver', '--port', '0']\n"
        "runpy.run_module('inngest_realtime_devserver', run_name='__main__')"
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"The embedded server needs {missing}, which is not installed. Install the extra: "
        'pip install "inngest-realtime[devserver]"\n',
    )


def test_a_module_of_ours_that_is_missing_is_not_blamed_on_an_extra() -> None:
    done = run("import sys; sys.modules['inngest_realtime_core.realtime'] = None\nimport inngest_realtime_starlette")
    assert "extra" not in done.stderr.splitlines()[-1]


def test_the_versions_agree() -> None:
    match = re.search(r'^version = "(.*)"$', PYPROJECT.read_text(), re.MULTILINE)
    assert match is not None
    assert __version__ == match[1] == importlib.metadata.version("inngest-realtime")


def test_the_command_says_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inngest_realtime_cli", "--version"], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (
        0,
        f"inngest-realtime {__version__} (Python {platform.python_version()})\n",
    )


@pytest.fixture
async def realtime() -> AsyncIterator[Realtime]:
    async with Realtime(api_base_url="http://127.0.0.1:1", linger=0) as realtime:
        yield realtime


async def test_the_user_agent_names_the_version(realtime: Realtime) -> None:
    token = http_answer("201 Created", b'{"jwt":"a.b.c"}', connection="close")
    with raw_server(token, http_answer("500 Failed", connection="close")) as server:
        with realtime.override(api_base_url=server.url), pytest.raises(Exception, match="500"):
            await realtime.subscribe(channel="c", topics=["t"])
        with realtime.override(api_base_url=server.url), pytest.raises(UnexpectedResponseError):
            await realtime.publish(("c", "t"), 1)
    agents = [re.search(rb"(?i)user-agent: (.*)\r\n", request) for request in server.requests]
    assert len(agents) == 3
    assert {agent and agent[1].decode() for agent in agents} == {f"inngest-realtime-python/{__version__}"}
