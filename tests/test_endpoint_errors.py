from __future__ import annotations

import json
import logging

import pytest

from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_core.endpoints import errors
from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.errors import (
    AuthenticationError,
    ChannelError,
    ConfigurationError,
    RealtimeError,
    ShuttingDownError,
    SubscriptionClosedError,
    TopicError,
    UnexpectedResponseError,
    UnreachableError,
)


@pytest.fixture(autouse=True)
def _nothing_was_logged_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_log", ThrottledLog(logging.getLogger("inngest_realtime.endpoints")))


URL = "http://inngest.internal/v1/realtime/token"


def test_the_body_is_a_json_object_that_names_the_parameter() -> None:
    answer = EndpointError(400, "missing_parameter", "runId is missing.", parameter="runId")
    assert json.loads(answer.body) == {
        "error": {"code": "missing_parameter", "message": "runId is missing.", "parameter": "runId"}
    }
    assert answer.headers == {"Cache-Control": "no-store"}
    assert str(answer) == "runId is missing."


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
def test_an_answeris_logged_and_only_its_kind_is_told(
    error: RealtimeError, status: int, code: str, retry: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answer = EndpointError.of(error)
    assert (answer.status, answer.code) == (status, code)
    assert ("Retry-After" in answer.headers) is retry
    assert b"internal" not in answer.body
    assert str(error) in caplog.text


def test_shutting_down_is_not_an_answerto_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = EndpointError.of(ShuttingDownError("stopping"))
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "shutting_down", "1")
    assert caplog.text == ""


def test_an_endpoint_answeris_its_own() -> None:
    error = EndpointError(503, "too_many_streams", "All are open.", retry_after=5)
    assert EndpointError.of(error) is error


@pytest.mark.parametrize(
    ("error", "code", "parameter"),
    [
        (ChannelError("run_id holds ':'.", parameter="run_id"), "invalid_parameter", "runId"),
        (TopicError("No."), "invalid_topic", None),
    ],
)
def test_what_a_client_has_asked_wrongly_is_told_and_not_logged(
    error: RealtimeError, code: str, parameter: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = EndpointError.of(error)
    assert (answer.status, answer.code, answer.parameter, answer.message) == (422, code, parameter, str(error))
    assert caplog.text == ""


def test_a_failure_that_goes_on_is_one_line_without_a_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        EndpointError.of(UnreachableError("refused", url=URL))
    assert [record.message for record in caplog.records] == ["A realtime endpoint failed: refused"]
    assert caplog.records[0].exc_info is None
    monkeypatch.setattr(errors._log, "_interval", 0.0)
    EndpointError.of(UnreachableError("refused", url=URL))
    assert "19 times more" in caplog.text
