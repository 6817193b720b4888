"""That the conformance suite catches adapters that break a promise, and by which of its cases."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# The module in `conformance/wrong` -> the case that catches it.
CAUGHT_BY = {
    "framework_stream": "test_limits.py::test_a_client_that_stops_reading",
    "authorize_on_the_loop": "test_limits.py::test_an_authorize_that_hangs",
    "no_resume": "test_streams.py::test_a_client_that_comes_back_misses_nothing",
    "no_headers": "test_streams.py::test_the_headers_of_a_stream",
    "cleanup_in_the_scope": "test_disconnects.py::test_a_client_that_leaves_frees_its_stream",
    "head_opens_a_stream": "test_streams.py::test_a_stream_has_no_head",
}


async def run_suite(module: str, *cases: str) -> tuple[set[str], str]:
    """Runs cases of the suite against an adapter of `conformance/wrong`. Returns those that failed, and the output."""
    nodes = [f"conformance/{case}" for case in cases]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:randomly", *nodes),
        cwd=TESTS,
        env={**os.environ, "CONFORMANCE_APP": f"conformance.wrong.{module}:app"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await asyncio.wait_for(process.communicate(), 120))[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode in (0, 1), output  # neither a usage error nor an empty selection
    assert not re.search(r"^ERROR ", output, re.MULTILINE), output  # the server of a wrong adapter runs all the same
    return set(re.findall(r"^FAILED \S*conformance/(\S+?)\[", output, re.MULTILINE)), output


@pytest.mark.parametrize("module", CAUGHT_BY)
async def test_a_wrong_adapter_is_caught(module: str) -> None:
    failed, output = await run_suite(module, CAUGHT_BY[module])
    assert failed == {CAUGHT_BY[module]}, output


async def test_the_adapter_that_they_are_made_of_is_right() -> None:
    failed, output = await run_suite("adapter", *CAUGHT_BY.values())
    assert not failed, output


def test_every_wrong_adapter_is_tried() -> None:
    modules = {path.stem for path in (TESTS / "conformance" / "wrong").glob("*.py")}
    assert modules - {"__init__", "adapter"} == set(CAUGHT_BY)
