"""The numbers of `realtime.stats()` as OpenTelemetry instruments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from inngest_realtime_core.realtime import Realtime
from inngest_realtime_core.stats import Stats

__all__ = ["StatsMetrics"]

_KEPT = 0.5  # seconds: one collection asks every instrument, and looks once

# Name, unit, what it is, and where it is found. Sums go up only; states go up and down.
_SUMS: list[tuple[str, str, str, Callable[[Stats], float]]] = [
    ("messages.received", "{message}", "Messages received from Inngest", lambda stats: stats.received),
    ("messages.delivered", "{message}", "Messages that readers took", lambda stats: stats.delivered),
    ("messages.dropped", "{message}", "Messages lost because a reader was too slow", lambda stats: stats.dropped),
    ("reconnects", "{reconnect}", "Connections to Inngest lost and made again", lambda stats: stats.reconnects),
]


def _replay_ok(stats: Stats) -> int | None:
    return None if stats.replay_ok is None else int(stats.replay_ok)


_SUMS_BY: list[tuple[str, str, str, str, Callable[[Stats], Mapping[str, int]]]] = [
    ("gaps", "{gap}", "Gaps that readers took", "reason", lambda stats: stats.gaps_by_reason),
    (
        "resumes",
        "{resume}",
        "Streams of web clients that came back: served, or told of a gap",
        "outcome",
        lambda stats: {"served": stats.resumes - stats.resumes_gapped, "gapped": stats.resumes_gapped},
    ),
    (
        "endpoint.errors",
        "{error}",
        "Requests that got neither token nor stream",
        "code",
        lambda stats: stats.endpoint_errors,
    ),
]
_STATES: list[tuple[str, str, str, Callable[[Stats], float]]] = [
    ("connections", "{connection}", "WebSockets to Inngest that are open", lambda stats: stats.sockets),
    ("subscriptions", "{subscription}", "Subscriptions that are open", lambda stats: stats.subscriptions),
    ("channels", "{channel}", "Channels that are kept", lambda stats: stats.channels),
    ("streams", "{stream}", "Event streams for web clients that are open", lambda stats: stats.streams),
    (
        "endpoint.streams",
        "{stream}",
        "Streams of the endpoints, which have a limit",
        lambda stats: stats.endpoint_streams,
    ),
    ("buffer.size", "By", "Bytes that wait for readers in this process", lambda stats: stats.buffer_bytes),
    ("window.size", "By", "Bytes kept for those who come back or come late", lambda stats: stats.window_bytes),
]
_GAUGES: list[tuple[str, str, str, Callable[[Stats], float | None]]] = [
    ("endpoint.streams.limit", "{stream}", "How many of them may be open", lambda stats: stats.max_streams),
    ("buffer.size.limit", "By", "How many bytes may wait", lambda stats: stats.total_buffer_bytes),
    ("connection.age", "s", "Time since a connection to Inngest was last made", lambda stats: stats.connected_for),
    ("success.age", "s", "Time since Inngest last did what it was asked", lambda stats: stats.last_success_age),
    ("replay.healthy", "{healthy}", "Whether Redis keeps what it is given: 1 or 0", _replay_ok),
    ("replay.healthy.age", "s", "Time since that is so", lambda stats: stats.replay_age),
]


class StatsMetrics:
    """Registers an instrument for each number of one `Realtime`.

    Args:
        realtime: Whose numbers.
        meter: Makes the instruments.
        prefix: What every name begins with.
        attributes: Put on every value.
    """

    def __init__(self, realtime: Realtime, meter: Meter, prefix: str, attributes: Mapping[str, str]) -> None:
        self._realtime: Realtime | None = realtime
        self._attributes = dict(attributes)
        self._kept: tuple[float, Stats] | None = None
        for name, unit, text, look in _SUMS:
            meter.create_observable_counter(f"{prefix}.{name}", [self._one(look)], unit, text)
        for name, unit, text, label, look_at_all in _SUMS_BY:
            meter.create_observable_counter(f"{prefix}.{name}", [self._many(label, look_at_all)], unit, text)
        for name, unit, text, look in _STATES:
            meter.create_observable_up_down_counter(f"{prefix}.{name}", [self._one(look)], unit, text)
        for name, unit, text, look_for in _GAUGES:
            meter.create_observable_gauge(f"{prefix}.{name}", [self._one(look_for)], unit, text)
        meter.create_observable_gauge(
            f"{prefix}.error.age", [self._last_error], "s", "Time since Inngest last failed, by the kind of the failure"
        )
        meter.create_observable_gauge(
            f"{prefix}.healthy", [self._health], "{healthy}", "Whether what was last asked of Inngest succeeded: 1 or 0"
        )

    def stop(self) -> None:
        """Report nothing any more."""
        self._realtime = None

    def _one(self, look: Callable[[Stats], float | None]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            stats = self._stats()
            value = None if stats is None else look(stats)
            return [] if value is None else [Observation(value, self._attributes)]

        return observe

    def _many(
        self, label: str, look: Callable[[Stats], Mapping[str, int]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            stats = self._stats()
            values: Mapping[str, int] = {} if stats is None else look(stats)
            return [Observation(value, {**self._attributes, label: key}) for key, value in values.items()]

        return observe

    def _last_error(self, options: CallbackOptions) -> Iterable[Observation]:
        stats = self._stats()
        if stats is None or stats.last_error_age is None:
            return []
        kind = {"error.type": stats.last_error_type or ""}
        return [Observation(stats.last_error_age, {**self._attributes, **kind})]

    def _health(self, options: CallbackOptions) -> Iterable[Observation]:
        realtime = self._realtime
        return [] if realtime is None else [Observation(int(realtime.health().ok), self._attributes)]

    def _stats(self) -> Stats | None:
        realtime = self._realtime
        if realtime is None:
            return None
        kept, now = self._kept, time.monotonic()
        if kept is None or now - kept[0] > _KEPT:
            kept = self._kept = (now, realtime.stats())
        return kept[1]
