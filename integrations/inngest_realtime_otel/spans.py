"""Spans and durations of the operations of a `Realtime`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from opentelemetry import context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

__all__ = ["OperationObserver"]

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_DURATIONS = {
    "publish": ("publish.duration", "Time to publish a message"),
    "publish_stream": ("publish_stream.duration", "Time to publish a data stream, from its first to its last chunk"),
    "token": ("token.duration", "Time to get a token for a web client"),
    "subscribe": ("subscribe.duration", "Time to open a subscription"),
    "stream": ("stream.time_to_first_byte", "Time from a web client's request to the first byte of its stream"),
}
_SPANS = {
    "publish": SpanKind.PRODUCER,
    "publish_stream": SpanKind.PRODUCER,
    "token": SpanKind.CLIENT,
    "subscribe": SpanKind.CLIENT,
}


class OperationObserver:
    """Makes a span and a duration of each operation. A `Realtime`'s observer.

    Args:
        tracer: Makes the spans.
        meter: Makes the histograms.
        prefix: What the names of the histograms begin with.
        attributes: Put on every duration.
    """

    def __init__(self, tracer: Tracer, meter: Meter, prefix: str, attributes: Mapping[str, str]) -> None:
        self._tracer = tracer
        self._attributes = dict(attributes)
        self._histograms: dict[str, Histogram] = {
            operation: meter.create_histogram(
                f"{prefix}.{name}", "s", text, explicit_bucket_boundaries_advisory=_BUCKETS
            )
            for operation, (name, text) in _DURATIONS.items()
        }

    def __call__(self, operation: str, attributes: Mapping[str, str]) -> Callable[[BaseException | None], None]:
        began = time.perf_counter()
        end_span = self._begin_span(operation, attributes)

        def finish(error: BaseException | None) -> None:
            labels = self._attributes if error is None else {**self._attributes, "error.type": type(error).__name__}
            histogram = self._histograms.get(operation)
            if histogram is not None:
                histogram.record(time.perf_counter() - began, labels)
            end_span(error)

        return finish

    def _begin_span(self, operation: str, attributes: Mapping[str, str]) -> Callable[[BaseException | None], None]:
        kind = _SPANS.get(operation)
        if kind is None:
            return lambda error: None
        # Names of channels are many, so they are no part of the span's name.
        known = {"messaging.system": "inngest", "messaging.operation.name": operation}
        if kind is SpanKind.PRODUCER:
            known["messaging.operation.type"] = "send"
        span = self._tracer.start_span(
            f"inngest.realtime {operation}", kind=kind, attributes={**known, **_named(attributes)}
        )
        token = context.attach(set_span_in_context(span))

        def end(error: BaseException | None) -> None:
            context.detach(token)
            if error is not None:
                span.set_attribute("error.type", type(error).__name__)
                if isinstance(error, Exception):
                    span.set_status(Status(StatusCode.ERROR, str(error)))
            span.end()

        return end


def _named(attributes: Mapping[str, str]) -> dict[str, str]:
    names = {"channel": "messaging.destination.name"}
    return {names.get(name, f"inngest.realtime.{name}"): value for name, value in attributes.items()}
