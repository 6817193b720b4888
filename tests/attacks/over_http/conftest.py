"""Attacks over HTTP run against the servers of the conformance suite, one of each kind."""

from __future__ import annotations

import pytest

from conformance.conftest import (
    client,
    inngest,
    number,
    pytest_configure,
    pytest_runtest_makereport,
    run_id,
    server,
)
from conformance.servers import CASES, ServerCase

__all__ = ["case", "client", "inngest", "number", "pytest_configure", "pytest_runtest_makereport", "run_id", "server"]

# These differ from others in the event loop and in when they fork, which no limit depends on; attacks take long.
_ALIKE = ("starlette-uvicorn-standard", "flask-gunicorn-preload")
_CASES = [case for case in CASES if case.name not in _ALIKE]


@pytest.fixture(scope="session", params=_CASES, ids=[case.name for case in _CASES])
def case(request: pytest.FixtureRequest) -> ServerCase:
    return request.param
