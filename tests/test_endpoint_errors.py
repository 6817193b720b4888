from __future__ import annotations

import json
import logging

import pytest

from inngest_realtime_core.endpoints.errors import EndpointError, too_many_streams
from inngest_realtime_core.errors import (
    AuthenticationError,
    ConfigurationError,
    RealtimeError,
    ShuttingDownError,
    SubscriptionClosedError,
    UnexpectedResponseError,
    UnreachableError,
)

URL = "http://inngest.internal/v1/realtime/token"


def test_the_body_is_a_json_object_that_names_the_parameter() -> None:
    refusal = EndpointError(400, "missing_parameter", "runId is missing.", parameter="runId")
    assert json.loads(refusal.body) == {
        "error": {"code": "missing_parameter", "message": "runId is missing.", "parameter": "runId"}
    }
    assert refusal.headers == {"Cache-Control": "no-store"}
    assert str(refusal) == "runId is missing."


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (AuthenticationError("401", url=URL, status=401), 502, "inngest_refused", False),
        (UnexpectedResponseError("HTML", url=URL, status=200), 502, "inngest_failed", False),
        (UnreachableError("refused", url=URL), 503, "inngest_unreachable", True),
        (ConfigurationError("no signing key"), 500, "misconfigured", False),
        (SubscriptionClosedError("closed"), 500, "failed", False),
    ],
)
def test_an_error_is_logged_and_only_its_kind_is_told(
    error: RealtimeError, status: int, code: str, retry: bool, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = EndpointError.of(error)
    assert (refusal.status, refusal.code) == (status, code)
    assert ("Retry-After" in refusal.headers) is retry
    assert b"internal" not in refusal.body
    assert str(error) in caplog.text


def test_shutting_down_is_not_an_error_to_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusal = EndpointError.of(ShuttingDownError("stopping"))
    assert (refusal.status, refusal.code, refusal.headers["Retry-After"]) == (503, "shutting_down", "1")
    assert caplog.text == ""


def test_a_refusal_is_its_own() -> None:
    refusal = too_many_streams(3)
    assert EndpointError.of(refusal) is refusal
    assert (refusal.status, refusal.code) == (503, "too_many_streams")
