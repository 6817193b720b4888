"""OpenTelemetry for Inngest Realtime: metrics of a `Realtime`, and spans of what it is asked to do.

Needs the extra `otel` (opentelemetry-api). The application chooses the SDK and the exporters, as for all that it has.
"""

from __future__ import annotations

from inngest_realtime_core.extras import extra

with extra("otel", __name__):
    from .instrument import Instrumentation, instrument

__all__ = ["Instrumentation", "instrument"]
