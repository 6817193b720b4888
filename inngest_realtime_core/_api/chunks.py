"""Cutting a text into the pieces of a data stream, sans-IO: how large they are, how many, and how fast they go.

Inngest reads the body of a stream at most 1,000 times, at most 1,024 bytes each time, makes a chunk of each read, and
stops in silence after the last one. A character that two reads share arrives as U+FFFD twice. Each piece is sent as
one chunk of HTTP/1.1's chunked encoding. Go's reader fills its 1,024 bytes with as many such chunks as have already
arrived, and stops early only at the end of one. So:

- A piece has at most 1,024 bytes and ends between characters: a read that starts with a piece is never cut inside it.
- Every read holds the end of at least one piece: 1,000 pieces are never more than 1,000 reads.
- When more than 1,024 bytes wait to be read, a read may end inside a later piece. There is no acknowledgement to wait
  for, so before text that such a cut could harm (not plain ASCII) goes beyond 1,024 bytes, `Throttle` leaves the server
  time to read. That makes a cut improbable and not impossible: a lost packet or a proxy that collects chunks can
  still bring them together.
"""

from __future__ import annotations

from ..errors import PublishError

MAX_PIECE = 1_024  # bytes
MAX_PIECES = 1_000

# So that a text of many small parts, such as the tokens of a language model, does not use up the pieces: up to this
# many pieces, each has at least so many bytes. The first 500 go out at once.
_LEAST_BYTES = ((500, 1), (750, 64), (900, 256), (MAX_PIECES, MAX_PIECE))


class Splitter:
    """Turns parts of a text into pieces to send.

    Args:
        trial: Nothing is sent: it is found out beforehand whether the text fits.

    Attributes:
        pieces: Pieces given out so far.
        size: Bytes given out so far.
    """

    def __init__(self, *, trial: bool = False) -> None:
        self.pieces = 0
        self.size = 0
        self._trial = trial
        self._sent = 0  # what was given out before the last part came
        self._pending = bytearray()

    def feed(self, text: object) -> list[bytes]:
        """Add a part of the text; returns the pieces that are ready.

        Raises:
            PublishError: `text` is not a str, holds a lone surrogate, or is more than the stream can carry.
        """
        self._sent = self.size
        if not isinstance(text, str):
            raise PublishError(f"A part of the stream is {type(text).__name__}, not str. Convert or decode it.")
        try:
            self._pending += text.encode()
        except UnicodeEncodeError:
            raise PublishError(
                "A part of the stream contains a lone surrogate, which UTF-8 cannot carry. "
                "Are characters outside the BMP split between two parts?"
            ) from None
        ready: list[bytes] = []
        while len(self._pending) >= MAX_PIECE:
            ready.append(self._take(_boundary(self._pending)))
        if len(self._pending) >= self._least():
            ready.append(self._take(len(self._pending)))
        return ready

    def finish(self) -> list[bytes]:
        """The end of the text: what was held back."""
        self._sent = self.size
        return [self._take(len(self._pending))] if self._pending else []

    def _least(self) -> int:
        return next((least for until, least in _LEAST_BYTES if self.pieces < until), MAX_PIECE)

    def _take(self, length: int) -> bytes:
        if self.pieces == MAX_PIECES:
            sent = "Nothing was sent" if self._trial else f"{self._sent:,} bytes of it were sent, the rest was not"
            raise PublishError(
                f"The stream is too long: Inngest takes {MAX_PIECES:,} pieces of at most {MAX_PIECE:,} bytes. {sent}. "
                "Start another stream for the rest, and give larger parts: small ones carry less in all."
            )
        piece = bytes(self._pending[:length])
        del self._pending[:length]
        self.pieces += 1
        self.size += length
        return piece


def _boundary(text: bytearray) -> int:
    """The last place between two characters within the first 1,024 bytes; there are more, or just as many."""
    end = MAX_PIECE
    while end < len(text) and text[end] & 0xC0 == 0x80:
        end -= 1
    return end


class Throttle:
    """Says how long to wait before each piece.

    Args:
        settle: Seconds after which what was sent counts as read.
    """

    def __init__(self, settle: float = 0.01) -> None:
        self._settle = settle
        self._last = float("-inf")
        self._unread = 0
        self._harmless = True  # what is unread is plain ASCII

    def delay(self, piece: bytes, now: float) -> float:
        """Seconds to wait before `piece` is sent, at the time `now` in seconds of any clock that goes on."""
        since = now - self._last
        wait = 0.0
        if since >= self._settle:
            self._unread, self._harmless = 0, True
        harmless = self._harmless and piece.isascii()
        if self._unread + len(piece) > MAX_PIECE and not harmless:
            wait = self._settle - since
            self._unread, harmless = 0, piece.isascii()
        self._unread += len(piece)
        self._harmless = harmless
        self._last = now + wait
        return wait

    def sent(self, now: float) -> None:
        """Called when the piece has been sent: on a busy machine later than it was to be."""
        self._last = max(self._last, now)
