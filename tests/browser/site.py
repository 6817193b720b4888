"""What the applications of the browser tests serve: one grant, read by pages of this and of another origin."""

from __future__ import annotations

import html
import json
import os
from typing import Any

from pydantic import BaseModel

from docs.blocks import ROOT, blocks_of
from inngest_realtime_core import Channel, Grant, Message, allow_anyone, topic

PREFIX = "/api/realtime"
OTHER_ORIGIN = "http://pages.test"  # answered by the browser itself
# What pages of that origin may send, as docs/cors.md says; those of htmx 4 are its own.
HEADERS = ["Authorization", "Last-Event-ID"]
HEADERS += ["HX-Current-URL", "HX-Request", "HX-Request-Type", "HX-Source", "HX-Target"]


class Status(BaseModel):
    message: str
    step: str | None = None


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(Any)


def is_welcome(request: Any, channel: Pipeline) -> bool:
    return not channel.run_id.startswith("secret")


def fragment(message: Message[Any]) -> str | None:
    return f"<li>{html.escape(json.dumps(message.data))}</li>" if message.kind == "data" else None


def documented_grants() -> list[Grant[Any]]:
    """Those that docs/clients/htmx.md declares."""
    (code,) = (block.code for block in blocks_of(ROOT / "docs" / "clients" / "htmx.md") if block.language == "python")
    namespace: dict[str, Any] = {"__name__": "documented"}
    exec(code, namespace)
    grants: list[Grant[Any]] = namespace["grants"]
    return grants


GRANTS = [
    *documented_grants(),
    Grant(Pipeline, authorize=is_welcome),
    Grant(Pipeline, name="html", authorize=is_welcome, render=fragment),
    Grant(Pipeline, name="kept", authorize=is_welcome, render=fragment, rewind="all", rewind_default="all"),
    Grant("news", ["headline"], authorize=allow_anyone),
]
HEARTBEAT = float(os.environ.get("BROWSER_HEARTBEAT", "0.5"))
