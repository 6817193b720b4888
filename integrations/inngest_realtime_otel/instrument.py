"""Connecting a `Realtime` to OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider, get_tracer

from inngest_realtime_core.realtime import Realtime, check_realtime
from inngest_realtime_core.version import __version__

from .metrics import StatsMetrics
from .spans import OperationObserver

__all__ = ["Instrumentation", "instrument"]

_NAME = "inngest_realtime"
_PREFIX = "inngest.realtime"


class Instrumentation:
    """What `instrument` gives: the way to end it."""

    def __init__(self, metrics: StatsMetrics, remove: Callable[[], None]) -> None:
        self._metrics = metrics
        self._remove = remove

    def uninstrument(self) -> None:
        """Report nothing of this `Realtime` any more."""
        self._remove()
        self._metrics.stop()


def instrument(
    realtime: Realtime,
    *,
    name: str | None = None,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> Instrumentation:
    """Report what `realtime` does. Call it once, after the SDK is set up, in each process that serves.

    Metrics begin with `inngest.realtime.`; the docs list them. Spans are made of tokens, publishes and subscriptions,
    and end when these do: an open subscription is not an open span.

    Args:
        realtime: The application's object.
        name: Distinguishes this object from others in one process: the attribute `inngest.realtime.name`.
        meter_provider: Instead of the global one.
        tracer_provider: Instead of the global one.
    """
    check_realtime(realtime)
    attributes = {} if name is None else {f"{_PREFIX}.name": name}
    meter = get_meter(_NAME, __version__, meter_provider=meter_provider)
    observer = OperationObserver(
        get_tracer(_NAME, __version__, tracer_provider=tracer_provider), meter, _PREFIX, attributes
    )
    return Instrumentation(StatsMetrics(realtime, meter, _PREFIX, attributes), realtime.add_observer(observer))
