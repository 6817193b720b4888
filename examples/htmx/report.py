"""A job whose page is made of HTML fragments: what the Flask and the Django application of this folder share."""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
from typing import Any

from pydantic import BaseModel

from inngest_realtime_core import Channel, Realtime, Replay, topic

PACE = float(os.environ.get("PIPELINE_PACE", "1"))
REGIONS = ("North", "East", "South", "West", "Coast", "Islands")
ANSWER = "Demand is met in all six regions. The coast exports, <b>the islands</b> import, and nothing is to be done."


class Progress(BaseModel):
    message: str
    percent: int


class Region(BaseModel):
    name: str
    megawatts: int


class Report(Channel, name="report:{run_id}"):
    run_id: str
    progress = topic(Progress)
    log = topic(str)
    region = topic(Region)
    words = topic(str)
    done = topic(bool)


# The template of each topic's fragment: Django and Jinja2 read them alike, and escape what they put in.
TEMPLATES = {name: f"_{name}.html" for name in ("progress", "log", "region", "words", "done")}


# How long a report is kept for pages that are reloaded, or opened late: they ask for all of it, and get it again.
HISTORY = Replay(size=500, max_age=600)

_started: set[str] = set()


def may_view(request: Any, channel: Report) -> bool:
    """Your rule: does the request's user own the report?"""
    return re.fullmatch(r"[0-9a-f]{32}", channel.run_id) is not None


def start(realtime: Realtime, run_id: str) -> None:
    """Starts the job of a run, once; each page asks for it when its stream is ready, and so misses nothing."""
    if run_id in _started:
        return
    _started.add(run_id)
    threading.Thread(target=asyncio.run, args=[_work(realtime, Report(run_id=run_id))], daemon=True).start()


async def _work(realtime: Realtime, report: Report) -> None:
    for number in range(1, 25):
        name = REGIONS[number % len(REGIONS)]
        megawatts = random.randint(200, 900)
        await realtime.publish(report.region, Region(name=name, megawatts=megawatts))
        await realtime.publish(report.log, f"{name}: {megawatts} MW <read from {name.lower()}.example & stored>")
        await realtime.publish(report.progress, Progress(message=f"Reading {name}", percent=number * 4))
        await asyncio.sleep(0.25 * PACE)
    for word in re.findall(r"\S+\s*", ANSWER):
        await realtime.publish(report.words, word)
        await asyncio.sleep(0.08 * PACE)
    await realtime.publish(report.progress, Progress(message="The report is ready", percent=100))
    await realtime.publish(report.done, True)
    await realtime.close()  # what this thread's event loop had open
