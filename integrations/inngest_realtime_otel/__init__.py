"""OpenTelemetry for Inngest Realtime: metrics of a `Realtime`, and spans of what it is asked to do.

Needs the extra `otel` (opentelemetry-api). The application chooses the SDK and the exporters, as for all that it has.
"""

from __future__ import annotations

try:
    from .instrument import Instrumentation, instrument
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ModuleNotFoundError(
        "inngest_realtime_otel needs opentelemetry-api, which is not installed. Install the extra: "
        'pip install "inngest-realtime[otel]"',
        name=error.name,
    ) from error

__all__ = ["Instrumentation", "instrument"]
