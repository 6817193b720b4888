"""The pages of examples/patterns as people see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import UNTIL, check_accessibility, picture
from functions.site import Site, serve_pattern
from inngest_realtime_devserver.server import DevServer


@pytest.fixture
def serve(inngest: DevServer, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(pattern: str) -> Site:
            return stack.enter_context(serve_pattern(pattern, inngest, tmp_path))

        yield start


def until(page: Any, selector: str, text: str) -> None:
    page.locator(selector, has_text=text).first.wait_for(timeout=UNTIL)


def test_an_answer(serve: Any, context: Any) -> None:
    site = serve("answer")
    site.execute("answers", "answer", "question/asked", lost=["generate"])
    page = context.new_page()
    page.goto(site.url)
    page.keyboard.press("Tab")  # the whole of each page is done with the keyboard
    page.keyboard.type("How was the week?")
    page.keyboard.press("Enter")
    page.locator("#answer[data-state=done]").wait_for(timeout=UNTIL)
    # The step was executed twice, and sent its tokens twice; the whole set it right.
    check_accessibility(page)
    picture(page, "pattern-answer")
    assert page.inner_text("#answer") == "You asked: How was the week? The grid had a calm week."


@pytest.mark.parametrize("pattern", ["approval", "approval_django"])
def test_a_person_says_yes(pattern: str, serve: Any, context: Any) -> None:
    site = serve(pattern)
    site.execute("approvals", "deploy", "deployment/requested", events=site.events.wait_for)
    page = context.new_page()
    page.goto(site.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(page, "#question", "Deploy to production?")
    late = context.new_page()
    late.goto(page.url)
    until(late, "#question", "Deploy to production?")
    check_accessibility(late)
    picture(late, "pattern-approval")
    late.keyboard.press("Tab")
    late.keyboard.press("Tab")
    late.keyboard.press("Enter")
    until(late, "#outcome", "deployed")
    until(page, "#outcome", "deployed")


def test_a_dashboard(serve: Any, context: Any) -> None:
    site = serve("dashboard")
    site.execute("dashboard", "run-job", "job/requested")
    page = context.new_page()
    page.goto(site.url)
    for job in ("solar", "wind", "storage"):
        until(page, "#jobs li", f"{job}: 3 of 3")
        until(page, "#notices li", f"{job}: finished")
    check_accessibility(page)
    picture(page, "pattern-dashboard")


@pytest.mark.parametrize("pattern", ["progress", "progress_flask"])
def test_progress_seen_by_a_late_joiner(pattern: str, serve: Any, context: Any) -> None:
    site = serve(pattern)
    site.execute("reports", "write-report", "report/requested")
    page = context.new_page()
    page.goto(site.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(page, "#steps", "done")
    late = context.new_page()
    late.goto(page.url)
    until(late, "#steps", "done")
    check_accessibility(late)
    picture(late, "pattern-progress")
    assert late.inner_text("#steps").split() == ["collect", "collect", "collect", "write", "done"]
