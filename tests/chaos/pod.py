"""A pod of test_pods.py: the application of docs/deployment.md, whose probe Kubernetes asks, with an endpoint."""

from __future__ import annotations

from typing import Any

from docs.blocks import ROOT, blocks_of
from inngest_realtime_core import Grant, Realtime, allow_anyone
from inngest_realtime_fastapi import realtime_router

namespace: dict[str, Any] = {"__name__": "probes"}
(probes,) = (block for block in blocks_of(ROOT / "docs" / "deployment.md") if block.title == "probes.py")
exec(compile(probes.code, probes.title, "exec"), namespace)

realtime: Realtime = namespace["realtime"]
app = namespace["app"]
app.include_router(realtime_router(realtime, [Grant("news", ["headline"], authorize=allow_anyone)]))
