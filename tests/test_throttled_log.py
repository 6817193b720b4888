"""One line of each kind in a while."""

from __future__ import annotations

import logging

import pytest

from inngest_realtime_core._telemetry import throttled_log
from inngest_realtime_core._telemetry.throttled_log import ThrottledLog


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> ThrottledLog:
    caplog.set_level(logging.DEBUG)
    now = iter(range(10_000))
    monkeypatch.setattr(throttled_log.time, "monotonic", lambda: next(now))
    return ThrottledLog(logging.getLogger("inngest_realtime.test"), interval=100)


def test_one_line_in_a_while_and_then_how_many_there_were(log: ThrottledLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(101):
        log.write(logging.ERROR, "kind", "Failed.")
    assert lines(caplog) == ["Failed.", "Failed. (99 times more since the last such line)"]


def test_each_kind_has_a_line_of_its_own(log: ThrottledLog, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("a", "b", "a"):
        log.write(logging.WARNING, kind, f"Failed {kind}.")
    assert lines(caplog) == ["Failed a.", "Failed b."]


def test_tracebacks_are_for_debug(log: ThrottledLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        log.write(logging.ERROR, "kind", "Failed.", LookupError("why"))
    traced = [record.levelname for record in caplog.records if record.exc_info]
    assert traced == ["DEBUG", "DEBUG"]
    assert lines(caplog) == ["Failed."]


def test_many_kinds_at_once_share_a_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kinds hold a channel's name: 2,000 channels with the same trouble wrote a line for each message."""
    now = 0.0
    monkeypatch.setattr(throttled_log.time, "monotonic", lambda: now)
    log = ThrottledLog(logging.getLogger("inngest_realtime.test"), interval=10)
    for _ in range(3):
        for number in range(2_000):
            log.write(logging.ERROR, number, f"Failed {number}.")
    assert lines(caplog) == [f"Failed {number}." for number in range(101)]
    assert len(log._written) == 101
    now = 10.0
    log.write(logging.ERROR, 5_000, "Failed 5000.")
    assert lines(caplog)[-1] == "Failed 5000."
    assert len(log._written) == 1
