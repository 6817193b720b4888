"""The functions of docs/functions.md, executed as Inngest executes them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from docs.blocks import ROOT, blocks_of
from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer

from .executor import Executor, new_run_id
from .serving import serve_fastapi


@pytest.fixture
def modules(tmp_path: Path, dev: DevServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModuleType]]:
    """The page's files, imported."""
    monkeypatch.setenv("INNGEST_DEV", dev.url)
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []
    for block in blocks_of(ROOT / "docs" / "functions.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.code)
            names.append(block.title.removesuffix(".py"))
    yield [importlib.import_module(name) for name in names]
    for name in names:
        del sys.modules[name]


def test_the_functions_of_the_page(modules: list[ModuleType], rt: Realtime) -> None:
    worker, review = modules
    run_id = new_run_id()
    with (
        serve_fastapi(worker.client, [worker.report, review.review, review.review_sync]) as url,
        Executor(url) as executor,
        rt.subscribe_sync(channel=f"pipeline:{run_id}", topics=["status", "tokens"]) as stream,
    ):
        run = executor.run("report", {"runId": run_id}, run_id=run_id)
        assert run.output == "The grid had a calm week."
        assert executor.run("review", run_id=run_id).output == "May I?"
        assert executor.run("review-sync", run_id=new_run_id()).error is None
        messages: list[Any] = [stream.receive(timeout=5) for _ in range(8)]
    assert {message.run_id for message in messages} == {run_id}
    data = [message.data for message in messages]
    assert [item["message"] for item in data if isinstance(item, dict)] == [
        *("Collecting", "Done", "May I?", "first", "second"),
    ]
    assert sorted(item for item in data if isinstance(item, str)) == ["The grid had a calm week.", "left", "right"]
    assert [message.id for message in messages if message.data == "left"] == [f"{run_id}.0.left"]
    worker.realtime.close_sync()
