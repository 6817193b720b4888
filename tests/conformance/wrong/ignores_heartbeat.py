"""An option that is not passed on: heartbeats come as seldom as by default."""

from __future__ import annotations

from conformance import site
from conformance.wrong.adapter import Adapter
from inngest_realtime_core.endpoints import EndpointOptions


class IgnoresHeartbeat(Adapter):
    def options(self) -> EndpointOptions:
        return EndpointOptions(**{name: value for name, value in site.options().items() if name != "heartbeat"})


app = IgnoresHeartbeat().app()
