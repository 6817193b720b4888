from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core.messages.timestamps import milliseconds, parse_timestamp, sortable
from wire import chunk_frame, decoded, frame, message_of, start_frame, time_of

UTC = timezone.utc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T13:20:17.892763204Z", datetime(2026, 11, 24, 13, 20, 17, 892763, UTC)),
        ("2026-11-24T13:20:17.9Z", datetime(2026, 11, 24, 13, 20, 17, 900000, UTC)),
        ("2026-11-24T13:20:17.000001Z", datetime(2026, 11, 24, 13, 20, 17, 1, UTC)),
        ("2026-11-24T13:20:17Z", datetime(2026, 11, 24, 13, 20, 17, 0, UTC)),
        ("2026-11-24T15:20:17.5+02:00", datetime(2026, 11, 24, 13, 20, 17, 500000, UTC)),
        ("2026-11-24T13:20:17.9999999Z", datetime(2026, 11, 24, 13, 20, 17, 999999, UTC)),
        ("9999-12-31T23:59:59.999999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
        (None, None),
        ("", None),
        ("0001-01-01T00:00:00+02:00", None),
        ("yesterday", None),
        ("2026-11-24T13:20:17", None),
        ("2026-13-24T13:20:17Z", None),
        ("2026-11-24T13:20:17.Zx", None),
    ],
)
def test_times(text: str | None, expected: datetime | None) -> None:
    assert parse_timestamp(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T13:35:59.767749674Z", "2026-11-24T13:35:59.767Z"),
        ("2026-11-24T13:35:59.999999999Z", "2026-11-24T13:35:59.999Z"),
        ("2026-11-24T13:35:59.7677Z", "2026-11-24T13:35:59.767Z"),
        ("2026-11-24T13:35:59.767Z", "2026-11-24T13:35:59.767Z"),
        ("2026-11-24T13:35:59.7Z", "2026-11-24T13:35:59.700Z"),
        ("2026-11-24T13:35:59Z", "2026-11-24T13:35:59.000Z"),
        ("nonsense", None),
        (None, None),
    ],
)
def test_milliseconds(text: str | None, expected: str | None) -> None:
    assert milliseconds(text) == expected


@given(st.integers(0, 59_999_999_999), st.integers(0, 59_999_999_999))
def test_sortable_times_sort_as_the_moments_do(one: int, other: int) -> None:
    assert (sortable(time_of(one)) < sortable(time_of(other))) == (one < other)


@given(st.datetimes(timezones=st.just(UTC)))
def test_milliseconds_agree_with_the_parsed_time(moment: datetime) -> None:
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds").rstrip("0").rstrip(".") + "Z"
    cut = milliseconds(text)
    assert cut is not None
    assert cut[-5:-1] == f".{moment.microsecond // 1000:03d}"
    assert parse_timestamp(cut) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_the_same_message_has_the_same_identity_on_two_connections() -> None:
    frames = [frame({"x": 1}), start_frame("s"), chunk_frame("s", "a"), chunk_frame("s", "a")]
    one, other = decoded(*frames), decoded(*frames)
    assert [m.identity for m in one] == [m.identity for m in other]
    assert len({m.identity for m in one}) == 4


@pytest.mark.parametrize("change", [{"number": 2}, {"topic": "u"}, {"kind": "run"}])
def test_identities_differ_with_the_message(change: dict[str, object]) -> None:
    assert message_of(1).identity != message_of(1, **change).identity
    assert message_of(1).identity != message_of(2).identity
