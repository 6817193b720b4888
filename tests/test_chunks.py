from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core._api.chunks import MAX_PIECE, MAX_PIECES, Splitter, Throttle
from inngest_realtime_core.errors import PublishError

# Surrogates excluded; many characters of two, three and four bytes.
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("é語😀"))
LONG_TEXT = st.builds(lambda text, times: text * times, TEXT, st.integers(1, 100))


def split(parts: Iterable[str]) -> list[bytes]:
    splitter = Splitter()
    pieces = [piece for part in parts for piece in splitter.feed(part)]
    pieces += splitter.finish()
    assert splitter.pieces == len(pieces)
    assert splitter.size == sum(map(len, pieces))
    return pieces


@given(st.lists(TEXT | LONG_TEXT, max_size=30))
def test_pieces_are_short_whole_and_in_order(parts: list[str]) -> None:
    pieces = split(parts)
    assert all(0 < len(piece) <= MAX_PIECE for piece in pieces)
    assert "".join(piece.decode() for piece in pieces) == "".join(parts)


@given(LONG_TEXT)
def test_long_parts_fill_the_pieces(text: str) -> None:
    assert all(len(piece) > MAX_PIECE - 4 for piece in split([text])[:-1])


def test_small_parts_go_out_at_once_at_first() -> None:
    splitter = Splitter()
    assert splitter.feed("a") == [b"a"]
    assert splitter.feed("") == []
    assert splitter.feed("é") == ["é".encode()]
    assert splitter.finish() == []


def test_many_small_parts_are_joined_rather_than_lost() -> None:
    parts = [f"token{number} " for number in range(10_000)]
    pieces = split(parts)
    assert len(pieces) <= MAX_PIECES
    assert b"".join(pieces).decode() == "".join(parts)
    assert pieces[:500] == [part.encode() for part in parts[:500]]


def test_the_largest_stream() -> None:
    assert split(["x" * MAX_PIECE] * MAX_PIECES) == [b"x" * MAX_PIECE] * MAX_PIECES


def test_one_byte_more_is_refused_with_what_was_sent() -> None:
    splitter = Splitter()
    for _ in range(MAX_PIECES):
        splitter.feed("x" * MAX_PIECE)
    splitter.feed("y")
    with pytest.raises(PublishError, match=r"1,024,000 bytes of it were sent"):
        splitter.finish()


def test_what_was_sent_leaves_out_the_part_that_did_not_fit() -> None:
    splitter = Splitter()
    splitter.feed("x" * MAX_PIECE * 10)
    with pytest.raises(PublishError, match=r"10,240 bytes of it were sent"):
        splitter.feed("x" * MAX_PIECE * MAX_PIECES)


def test_of_a_trial_nothing_was_sent() -> None:
    with pytest.raises(PublishError, match=r"bytes\. Nothing was sent\. Start another stream"):
        Splitter(trial=True).feed("x" * 1_100 * 1_024)


@pytest.mark.parametrize(("part", "says"), [("\ud800", "lone surrogate"), (b"x", "bytes"), (None, "NoneType")])
def test_what_is_no_text(part: object, says: str) -> None:
    with pytest.raises(PublishError, match=says):
        Splitter().feed(part)


# The throttle


@given(
    st.lists(
        st.tuples(TEXT | LONG_TEXT, st.sampled_from([0, 4, 20]), st.sampled_from([0, 15]), st.booleans()), max_size=10
    )
)
def test_a_server_that_reads_in_time_never_cuts_a_character(parts: list[tuple[str, int, int, bool]]) -> None:
    """The reader of Go's HTTP server: a read takes as many whole chunks as wait, and the start of one more.

    Times are whole milliseconds. Each part comes so long after the last one, is sent so much later than it was to be,
    and the server reads right after it was sent or not.
    """
    splitter, throttle, now = Splitter(), Throttle(settle=10), 0.0
    waiting: list[tuple[float, bytes]] = []
    reads: list[bytes] = []

    def read_when_sent_before(time: float) -> None:
        while waiting and waiting[0][0] <= time:
            taken = b""
            while waiting and len(taken) < MAX_PIECE:
                sent, piece = waiting.pop(0)
                room = MAX_PIECE - len(taken)
                taken += piece[:room]
                if len(piece) > room:
                    waiting.insert(0, (sent, piece[room:]))
            reads.append(taken)

    for part, pause, late, eager in parts:
        now += pause
        for piece in splitter.feed(part):
            now += throttle.delay(piece, now) + late
            throttle.sent(now)
            read_when_sent_before(now - 10)
            waiting.append((now, piece))
            if eager:
                read_when_sent_before(now)
    read_when_sent_before(now)
    assert "".join(read.decode() for read in reads) == "".join(part for part, *_ in parts)
    assert len(reads) <= splitter.pieces


def test_plain_ascii_never_waits() -> None:
    throttle = Throttle(settle=0.01)
    assert [throttle.delay(b"x" * MAX_PIECE, now=0.0) for _ in range(100)] == [0.0] * 100


def test_other_text_waits_when_more_than_one_read_would_be_waiting() -> None:
    throttle = Throttle(settle=0.01)
    piece = "é".encode() * 256
    assert throttle.delay(piece, now=1.0) == 0.0
    assert throttle.delay(piece, now=1.0) == 0.0
    assert throttle.delay(piece, now=1.004) == pytest.approx(0.006)


def test_what_was_sent_late_is_given_its_time_as_well() -> None:
    throttle = Throttle(settle=0.01)
    piece = "é".encode() * 512
    assert throttle.delay(piece, now=1.0) == 0.0
    throttle.sent(1.03)
    assert throttle.delay(piece, now=1.031) == pytest.approx(0.009)


def test_slow_text_never_waits() -> None:
    throttle = Throttle(settle=0.01)
    assert [throttle.delay("é".encode() * 512, now=number * 0.02) for number in range(10)] == [0.0] * 10
