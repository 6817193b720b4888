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
    "wrong_allow": "test_methods.py::test_methods_that_are_not_served",
    "loses_the_body": "test_tokens.py::test_parameters_are_camel_or_snake",
    "ignores_client": "test_limits.py::test_what_one_client_may_ask_for_in_a_burst",
    "blocks_the_loop": "test_streams.py::test_many_streams_at_once",
    "cached_tokens": "test_tokens.py::test_a_token_covers_the_granted_topics_only",
    "swallows_cancellation": "test_disconnects.py::test_a_client_that_leaves_frees_its_stream",
    "buffers": "test_streams.py::test_the_first_bytes_come_at_once",
    "two_heads": "test_streams.py::test_the_first_bytes_come_at_once",
    "drops_headers_of_errors": "test_endpoint_errors.py::test_streams_beyond_the_limit",
    "decodes_the_query": "test_tokens.py::test_a_value_is_text_whatever_it_holds",
    "deaf": "test_disconnects.py::test_a_client_that_leaves_frees_its_stream",
    "own_cached_tokens": "test_routes.py::test_a_token_is_handed_over",
    "hands_over_another_request": "test_streams.py::test_authorize_finds_the_frameworks_context_again",
    "ignores_last_event_id_parameter": "test_streams.py::test_a_client_that_cannot_set_headers_comes_back",
    "collapses_the_query": "test_tokens.py::test_topics_are_a_subset",
    "reads_the_whole_body": "test_limits.py::test_a_body_that_is_too_large",
    "head_asks_for_a_token": "test_methods.py::test_methods_that_are_not_served",
    "options_by_the_framework": "test_methods.py::test_methods_that_are_not_served",
    "errors_as_text": "test_endpoint_errors.py::test_whom_authorize_does_not_allow",
    "content_type_of_the_framework": "test_tokens.py::test_a_token_covers_the_granted_topics_only",
    "one_status_for_errors": "test_routes.py::test_an_error_of_a_route_is_answered",
    "endpoints_for_each_request": "test_endpoint_errors.py::test_streams_beyond_the_limit",
    "leaks_slots": "test_endpoint_errors.py::test_streams_beyond_the_limit",
    "ignores_heartbeat": "test_streams.py::test_heartbeats_come_as_often_as_the_options_say",
    "compresses": "test_streams.py::test_the_headers_of_a_stream",
    "own_framework_stream": "test_limits.py::test_a_client_that_stops_reading_from_an_applications_own_route",
    "begins_with_the_response": "test_routes.py::test_a_response_begins_where_its_subscription_began",
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
