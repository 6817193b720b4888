"""What a `Realtime` is doing, in numbers."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from .errors import ConfigurationError, InngestError

# What the counters of several event loops add up to, under the same name.
_SUMMED: Final = ("received", "delivered", "dropped", "reconnects", "resumes", "resumes_gapped")
_TIMED: Final = 100  # operations of a kind whose duration is kept
# Seconds that a failure counts for where nothing is asked after it. A connection that is wanted is tried each minute.
_FAILURE_COUNTS: Final = 300.0


# A struct is made in a tenth of the time, which each import takes; a dataclass besides, for `dataclasses.asdict()`.
@dataclass(init=False, repr=False, eq=False, match_args=False)
class Stats(msgspec.Struct, frozen=True):
    """A look at a `Realtime`, over all its event loops. Counts are since it was made, in this process.

    Attributes:
        sockets: WebSockets to Inngest that are open.
        subscriptions: Subscriptions that are open.
        channels: Channels that are kept, those included whose last reader left a short while ago.
        received: Messages received from Inngest.
        delivered: Messages that readers took, gaps left out; one that three readers took counts three times. What a
            client is sent again as it resumes counts as well; what waits in a buffer does not.
        dropped: Messages that were lost because a reader's buffer was full; one that three readers lost counts three
            times. What a subscription drops before it is first read counts from then on: until then nobody loses it.
        gaps: Gaps that readers took. A lost connection counts once for each reader that was told, and an overflow once
            for each gap that told of it, however many messages it stands for.
        reconnects: Connections that were lost and made again.
        streams: Event streams for web clients that are open.
        gaps_by_reason: The same as `gaps`, by `GapReason`.
        endpoint_streams: Streams of the endpoints that are open, those included that are about to be.
        max_streams: How many of them may be; None for no limit.
        resumes: Streams that began with the id of the last event that their client has had.
        resumes_gapped: How many of them were told of a gap: something that they missed, or all of it, is not known.
        publishes: Messages and data streams that were to be published, failures included.
        publish_errors: How many of them failed.
        publish_p50: The median time of the last 100 messages that were published, in seconds; None before the first.
        publish_max: The longest of them.
        first_byte_p50: The same from a web client's request to the first byte of its stream, `authorize` included.
        first_byte_max: The longest of them.
        token_requests: Tokens for web clients that were asked of this object, failures included; equal ones within two
            seconds are one request to Inngest.
        token_errors: How many of them failed.
        subscribe_errors: Subscriptions that could not be opened.
        endpoint_errors: Requests that got neither token nor stream, by the `code` of the response.
        buffer_bytes: Bytes that wait in this process: messages for readers, chunks of data streams that are open, and
            errors for `on_error`. Of messages below two kilobytes it is an estimate.
        total_buffer_bytes: How many of them may; then the readers that hold most lose their oldest, with a gap.
        window_bytes: Bytes of payload that this process keeps for those who come back or come late.
        replay_ok: Whether a `RedisReplay` does what it is asked; None where there is none, or it was not asked yet.
        replay_age: Seconds since that is so.
        replay_error: What kept it from that last, as a sentence, or None.
        connected_for: Seconds since a connection to Inngest was last made; None before the first.
        last_error: The last failure that Inngest, the network or the configuration caused, as a sentence, or None.
        last_error_type: The name of its class, such as `UnreachableError`.
        last_error_age: Seconds since then.
        last_success_age: Seconds since Inngest last did what it was asked; None before the first time.
    """

    sockets: int
    subscriptions: int
    channels: int
    received: int
    delivered: int
    dropped: int
    gaps: int
    reconnects: int
    streams: int = 0
    gaps_by_reason: Mapping[str, int] = {}
    endpoint_streams: int = 0
    max_streams: int | None = None
    resumes: int = 0
    resumes_gapped: int = 0
    publishes: int = 0
    publish_errors: int = 0
    publish_p50: float | None = None
    publish_max: float | None = None
    first_byte_p50: float | None = None
    first_byte_max: float | None = None
    token_requests: int = 0
    token_errors: int = 0
    subscribe_errors: int = 0
    endpoint_errors: Mapping[str, int] = {}
    buffer_bytes: int = 0
    total_buffer_bytes: int | None = None
    window_bytes: int = 0
    replay_ok: bool | None = None
    replay_age: float | None = None
    replay_error: str | None = None
    connected_for: float | None = None
    last_error: str | None = None
    last_error_type: str | None = None
    last_error_age: float | None = None
    last_success_age: float | None = None

    @classmethod
    def of(cls, counters: Iterable[Counters], replays: Collection[ReplayHealth], **now: Any) -> Stats:
        """The sum of `counters`, beside what is open now."""
        all_counters = list(counters)
        operations, failures, reasons, codes = (Counter[str]() for _ in range(4))
        for each in all_counters:
            # Other threads add to them meanwhile: a copy is made in one go.
            operations.update(each.operations.copy())
            failures.update(each.failures.copy())
            reasons.update(each.gap_reasons.copy())
            codes.update(each.endpoint_errors.copy())
        publishing, opening = (
            sorted(seconds for each in all_counters for seconds in each.durations[operation].copy())
            for operation in ("publish", "stream")
        )
        # One event loop that cannot reach it is enough.
        replay = min(replays, key=lambda each: (each.ok, each.since), default=None)
        replay_failed = max(replays, key=lambda each: each.failed_at, default=None)
        failed = max(all_counters, key=lambda each: each.failed_at or 0.0, default=None)
        return cls(
            **now,
            **{name: sum(getattr(each, name) for each in all_counters) for name in _SUMMED},
            gaps=reasons.total(),
            gaps_by_reason=dict(reasons),
            publishes=operations["publish"] + operations["publish_stream"],
            publish_errors=failures["publish"] + failures["publish_stream"],
            publish_p50=publishing[len(publishing) // 2] if publishing else None,
            publish_max=publishing[-1] if publishing else None,
            first_byte_p50=opening[len(opening) // 2] if opening else None,
            first_byte_max=opening[-1] if opening else None,
            token_requests=operations["token"],
            token_errors=failures["token"],
            subscribe_errors=failures["subscribe"],
            endpoint_errors=dict(codes),
            replay_ok=None if replay is None else replay.ok,
            replay_age=None if replay is None else _age([replay.since]),
            replay_error=None if replay_failed is None else replay_failed.last_error,
            connected_for=_age(each.connected_at for each in all_counters),
            last_error=failed.last_error if failed is not None else None,
            last_error_type=failed.last_error_type if failed is not None else None,
            last_error_age=_age(each.failed_at for each in all_counters),
            last_success_age=_age(each.succeeded_at for each in all_counters),
        )


class ReplayHealth(msgspec.Struct, frozen=True):
    """Whether what is kept for all processes can be reached, as one event loop sees it.

    Attributes:
        ok: Whether it did what it was asked last.
        since: `time.monotonic()` since which that is so.
        failed_at: `time.monotonic()` of the last failure; 0 before the first.
        last_error: That failure as a sentence, or None.
    """

    ok: bool
    since: float
    failed_at: float = 0.0
    last_error: str | None = None


@dataclass(init=False, repr=False, eq=False, match_args=False)
class Health(msgspec.Struct, frozen=True):
    """Whether a `Realtime` can do its work, for the page that a probe asks for.

    Attributes:
        ok: False when the process shuts down, and for five minutes when what was last asked of Inngest failed: after
            that, nothing is known.
        reason: Why not, as a sentence; empty when all is well. It may name addresses: show it to operators only.
    """

    ok: bool
    reason: str = ""

    @classmethod
    def of(cls, stats: Stats, *, shutting_down: bool) -> Health:
        """What `stats` say."""
        if shutting_down:
            return cls(False, "The process is shutting down.")
        failed, succeeded = stats.last_error_age, stats.last_success_age
        if stats.last_error is None or failed is None or failed > _FAILURE_COUNTS:
            return cls(True)
        if succeeded is not None and succeeded < failed:
            return cls(True)
        return cls(False, f"{stats.last_error} ({failed:.0f} s ago, and nothing has succeeded since.)")


class Counters:
    """What has happened so far, as `Stats` says it. Read from any thread."""

    def __init__(self) -> None:
        self.received: int = 0
        self.delivered: int = 0
        self.dropped: int = 0
        self.reconnects: int = 0
        self.resumes: int = 0
        self.resumes_gapped: int = 0
        self.gap_reasons: dict[str, int] = {}
        self.operations: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.endpoint_errors: dict[str, int] = {}
        self.durations: dict[str, deque[float]] = {name: deque(maxlen=_TIMED) for name in ("publish", "stream")}
        self.connected_at: float | None = None  # these are times of `time.monotonic()`
        self.succeeded_at: float | None = None
        self.failed_at: float | None = None
        self.last_error: str | None = None
        self.last_error_type: str | None = None

    @property
    def gaps(self) -> int:
        """Gaps that readers took."""
        return sum(self.gap_reasons.values())

    def gap(self, reason: str) -> None:
        """Count a gap that a reader took."""
        self.gap_reasons[reason] = self.gap_reasons.get(reason, 0) + 1

    def endpoint_error(self, code: str) -> None:
        """Count a request that got neither token nor stream."""
        self.endpoint_errors[code] = self.endpoint_errors.get(code, 0) + 1

    def connected(self) -> None:
        """Note that a connection to Inngest was made."""
        self.connected_at = self.succeeded_at = time.monotonic()

    def failed(self, error: BaseException) -> None:
        """Note what failed, where Inngest, the network or the configuration is the cause."""
        if isinstance(error, (InngestError, ConfigurationError)):
            self.failed_at, self.last_error = time.monotonic(), str(error)
            self.last_error_type = type(error).__name__

    def finished(self, operation: str, error: BaseException | None, seconds: float) -> None:
        """Count an operation that has ended; one that was cancelled is no failure."""
        self.operations[operation] = self.operations.get(operation, 0) + 1
        if error is None:
            if operation in self.durations:
                self.durations[operation].append(seconds)
            # A subscription may share a connection that is there already, so it says nothing of Inngest.
            if operation not in ("subscribe", "stream"):
                self.succeeded_at = time.monotonic()
        elif isinstance(error, Exception):
            self.failures[operation] = self.failures.get(operation, 0) + 1
            self.failed(error)


def _age(times: Iterable[float | None]) -> float | None:
    latest = max((each for each in times if each is not None), default=None)
    return None if latest is None else max(time.monotonic() - latest, 0.0)
