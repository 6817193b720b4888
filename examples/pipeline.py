"""The pipeline that all example applications run: its channel, its work, and what is known of each run."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, topic

PACE = float(os.environ.get("PIPELINE_PACE", "1"))  # 1 is pleasant to watch, 0.1 is quick

TEXT = (
    "The grid had a calm week. Solar output rose by 12 % over the week before, wind fell by 4 %, and demand followed "
    "the mild weather down. Prices at noon were below zero on two days, so storage paid for itself: batteries bought "
    "cheap light and sold it back at dusk. One line is worth watching. The interconnector in the north ran at 97 % "
    "of its capacity for nineteen hours, and the maintenance that was planned for June would take a third of it away. "
    "Recommendation: move that maintenance to September – und grüße das Team ☀️."
)


class Status(BaseModel):
    step: str
    message: str
    progress: float  # 0 to 1


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)


class Run(BaseModel):
    """What a page asks for when it may have missed something: the truth so far, from your database."""

    runId: str
    status: Status
    text: str = ""


runs: dict[str, Run] = {}


def may_view(request: Any, channel: Pipeline) -> bool:
    """Your rule: does the request's user own the run? Here everybody may see every run with a proper id."""
    return re.fullmatch(r"[A-Za-z0-9-]{8,64}", channel.run_id) is not None


grants = [Grant(Pipeline, topics=[Pipeline.status, Pipeline.tokens], authorize=may_view)]


def start(realtime: Realtime, run_id: str) -> Run:
    """Starts a run and returns at once. In production an Inngest function does this: see inngest_function.py."""
    run = runs[run_id] = Run(runId=run_id, status=Status(step="queued", message="Waiting for a worker", progress=0))
    while len(runs) > 100:
        del runs[next(iter(runs))]
    threading.Thread(target=asyncio.run, args=[_work(realtime, run)], name=f"run {run_id}", daemon=True).start()
    return run


async def _work(realtime: Realtime, run: Run) -> None:
    channel = Pipeline(run_id=run.runId)

    async def report(step: str, message: str, progress: float) -> None:
        run.status = Status(step=step, message=message, progress=progress)
        await realtime.publish(channel.status, run.status)

    await report("collect", "Collecting the week's readings", 0.1)
    await asyncio.sleep(1.2 * PACE)
    await report("analyse", "Comparing 1,344 readings with the week before", 0.35)
    await asyncio.sleep(1.2 * PACE)
    await report("write", "Writing the summary", 0.55)
    await realtime.publish_stream(channel.tokens, _words(run, report))
    await report("done", "The summary is ready", 1)
    await realtime.close()  # what this thread's event loop had open


async def _words(run: Run, report: Callable[[str, str, float], Awaitable[None]]) -> AsyncIterator[str]:
    """Stands in for a language model. The progress goes on while it writes."""
    words = re.findall(r"\S+\s*", TEXT)
    for number, word in enumerate(words, 1):
        run.text += word
        yield word
        if number % (len(words) // 4) == 0:
            await report("write", "Writing the summary", 0.55 + 0.4 * number / len(words))
        await asyncio.sleep(0.06 * PACE)
