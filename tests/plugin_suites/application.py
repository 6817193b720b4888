"""An application as users have one: channels, a `Realtime` at module level, grants."""

from __future__ import annotations

from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic


class Status(BaseModel):
    message: str


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)


realtime = Realtime()
grants = [Grant(Pipeline, authorize=allow_anyone)]


def run_pipeline(run_id: str) -> None:
    realtime.publish_sync(Pipeline(run_id=run_id).status, Status(message="Starting"))
