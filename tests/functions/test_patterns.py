"""The patterns of examples/patterns, each served as its first lines say, and executed as Inngest executes functions."""

from __future__ import annotations

import contextlib
import importlib
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fleet_model import Clock
from inngest_realtime_core._replay import channel_history, channel_log, limited_entries, record
from inngest_realtime_devserver.server import DevServer

from .site import PATTERNS, Site, serve_pattern


@pytest.fixture
def serve(dev: DevServer, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    with contextlib.ExitStack() as stack:
        yield lambda pattern: stack.enter_context(serve_pattern(pattern, dev, tmp_path))


def test_an_answer_in_tokens_and_as_a_whole(serve: Callable[[str], Site]) -> None:
    site = serve("answer")
    site.execute("answers", "answer", "question/asked", lost=["answer"])
    question_id = str(uuid4())
    stream = site.stream("/api/realtime/chat/stream", questionId=question_id)
    assert next(stream)["kind"] == "ready"
    asked = {"questionId": question_id, "question": "How was the week?"}
    assert site.http.post("/questions", json=asked).status_code == 202
    text, messages = "", 0
    for message in stream:
        if message["topic"] == "answer":
            break
        text += message["data"]
        messages += 1
    assert text.startswith("You asked: How was the week? The grid")
    assert message["data"] == {"text": text}
    assert messages < len(text.split())
    site.close()
    (run,) = site.runs
    assert run.output == text
    assert message["runId"] == run.id


@pytest.mark.parametrize("pattern", ["approval", "approval_django"])
@pytest.mark.parametrize("approved", [True, False, None])
def test_a_person_in_the_loop(pattern: str, approved: bool | None, serve: Callable[[str], Site]) -> None:
    site = serve(pattern)

    def answers(name: str) -> dict[str, Any] | None:
        return None if approved is None else site.events.wait_for(name)

    site.execute("approvals", "deploy", "deployment/requested", events=answers)
    deployment_id = str(uuid4())
    stream = site.stream("/api/realtime/deployment/stream", deploymentId=deployment_id)
    assert next(stream)["kind"] == "ready"
    assert site.http.post(f"/deployments/{deployment_id}").status_code == 202
    question = next(stream)
    assert question["data"]["text"] == "Deploy to production?"
    if approved is not None:
        answer = {"questionId": question["data"]["id"], "approved": approved}
        assert site.http.post(f"/deployments/{deployment_id}/answer", json=answer).status_code == 202
    outcome = next(stream)
    expected = {True: "deployed", False: "refused", None: "expired"}[approved]
    assert (outcome["topic"], outcome["data"]) == ("outcome", {"state": expected})
    site.close()
    (run,) = site.runs
    assert run.output == expected
    assert question["data"]["id"] == run.id


@pytest.mark.parametrize("pattern", ["approval", "approval_django"])
def test_a_question_that_was_asked_before_its_page_was_opened(pattern: str, serve: Callable[[str], Site]) -> None:
    site = serve(pattern)
    waiting = threading.Event()

    def answers(name: str) -> dict[str, Any]:
        waiting.set()
        return site.events.wait_for(name)

    site.execute("approvals", "deploy", "deployment/requested", events=answers)
    deployment_id = str(uuid4())
    path = f"/deployments/{deployment_id}"
    assert site.http.post(path).status_code == 202
    assert waiting.wait(10), "the question has been asked"
    assert "/api/realtime/client.js" in site.http.get(path).text

    def page() -> Iterator[dict[str, Any]]:
        stream = site.stream("/api/realtime/deployment/stream", deploymentId=deployment_id, rewind="all")
        assert next(stream)["kind"] == "ready"
        return stream

    stream = page()
    question = next(stream)
    assert question["data"]["text"] == "Deploy to production?"
    answer = {"questionId": question["data"]["id"], "approved": True}
    assert site.http.post(f"{path}/answer", json=answer).status_code == 202
    assert next(stream)["data"] == {"state": "deployed"}
    late = page()
    assert [next(late)["topic"] for _ in range(2)] == ["question", "outcome"]


def test_several_channels_in_one_page(serve: Callable[[str], Site], dev: DevServer) -> None:
    site = serve("dashboard")
    site.execute("dashboard", "run-job", "job/requested")
    team, jobs = secrets.token_hex(4), ["solar", "wind", "storage"]
    notices = site.stream("/api/realtime/team/stream", team=team)
    streams = {job: site.stream("/api/realtime/job/stream", team=team, job=job) for job in jobs}
    for stream in (notices, *streams.values()):
        assert next(stream)["kind"] == "ready"
    assert dev.stats().open_connections == 1, "they share a connection"
    for job in jobs:
        assert site.http.post(f"/teams/{team}/jobs/{job}").status_code == 202
    for stream in streams.values():
        assert [next(stream)["data"]["done"] for _ in range(3)] == [1, 2, 3]
    assert {next(notices)["data"]["job"] for _ in jobs} == set(jobs)


@pytest.mark.parametrize("pattern", ["progress", "progress_flask"])
def test_progress_for_those_who_come_late(pattern: str, serve: Callable[[str], Site]) -> None:
    site = serve(pattern)
    site.execute("reports", "write-report", "report/requested", lost=["written"])
    redirected = site.http.post("/reports")
    assert redirected.status_code == 303
    page = redirected.headers["location"]
    assert "/api/realtime/client.js" in site.http.get(page).text
    report_id = page.rpartition("/")[2]

    def whole_run() -> list[tuple[str, float]]:
        stream = site.stream("/api/realtime/report/stream", reportId=report_id, rewind="all")
        assert next(stream)["kind"] == "ready"
        seen = [next(stream)["data"] for _ in range(5)]
        return [(status["step"], status["progress"]) for status in seen]

    expected = [("collect", 0.1), ("collect", 0.2), ("collect", 0.3), ("write", 0.6), ("done", 1)]
    assert whole_run() == expected, "the page was opened while the run was under way"
    site.close_runs()
    assert whole_run() == expected, "it was opened after the run"


@pytest.mark.parametrize("pattern", ["progress", "progress_flask"])
def test_progress_of_a_run_that_takes_long(pattern: str, dev: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", dev.url)
    monkeypatch.syspath_prepend(PATTERNS)
    clock = Clock()
    for module in (channel_log, channel_history, limited_entries, record):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(channel_log, "_now", clock.monotonic)
    example = importlib.import_module(pattern)
    report = example.Report(report_id=uuid4())
    try:
        for part in range(3):
            example.realtime.publish_sync(report.status, example.Status(step="collect", progress=part / 10))
            clock.now += 600
        with example.realtime.subscribe_sync(channel=report, rewind="all") as stream:
            assert [stream.receive(timeout=5).data.progress for _ in range(3)] == [0, 0.1, 0.2]
    finally:
        example.realtime.close_sync()
        del sys.modules[pattern]
