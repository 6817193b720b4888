from __future__ import annotations

import itertools
import re

from inngest_realtime_devserver.clock import Clock


def test_every_reading_is_later_than_the_one_before() -> None:
    clock = Clock()
    readings = [clock.now() for _ in range(5_000)]

    def digits(reading: str) -> tuple[str, str]:
        seconds, _, fraction = reading.rstrip("Z").partition(".")
        return seconds, fraction.ljust(9, "0")

    assert all(digits(earlier) < digits(later) for earlier, later in itertools.pairwise(readings))


def test_a_reading_is_rfc_3339_in_utc_with_trailing_zeros_trimmed() -> None:
    clock = Clock()
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
    assert all(form.fullmatch(clock.now()) for _ in range(2_000))
