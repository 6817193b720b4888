"""Attacks over HTTP run against the servers of the conformance suite."""

from __future__ import annotations

from conformance.conftest import (
    case,
    client,
    inngest,
    number,
    pytest_configure,
    pytest_runtest_makereport,
    run_id,
    server,
)

__all__ = ["case", "client", "inngest", "number", "pytest_configure", "pytest_runtest_makereport", "run_id", "server"]
