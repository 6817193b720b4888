"""pytest fixtures and helpers for the tests of applications, on the embedded Inngest Realtime server.

Needs pytest and the extra `devserver`. In `conftest.py`:

    pytest_plugins = ["inngest_realtime_devserver.testing"]

and in a test, sync or async:

    def test_progress_is_published(inngest_realtime_env):
        realtime = Realtime()                      # the environment points to the embedded server
        with realtime.subscribe_sync(channel=Pipeline(run_id="r1")) as stream:
            run_pipeline("r1")                     # the application's code, which publishes
            (message,) = receive_sync(stream, 1)
            assert message.data.message == "Starting"

The server runs on a thread of its own, so the code under test may block or run an event loop of any kind. There is one
server per test: a channel of one test is never seen by another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from inngest_realtime_core.messages.message import Message
from inngest_realtime_core.subscriptions.sync import SyncSubscription

from .server import DevServer

__all__ = [
    "Event",
    "inngest_realtime_env",
    "inngest_realtime_server",
    "parse_events",
    "receive",
    "receive_sync",
]

_VARIABLES = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_ENV", "INNGEST_SIGNING_KEY_FALLBACK")


@pytest.fixture
def inngest_realtime_server() -> Iterator[DevServer]:
    """A running `DevServer`. Pass its `url` as `api_base_url`; `publish_sync`, `stats`, `drop_connections` and the
    other methods of `DevServer` say what happened, and let happen what an application has to survive."""
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def inngest_realtime_env(inngest_realtime_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> DevServer:
    """The same server, with the environment set for the test so that `Realtime()` and `inngest.Inngest` find it."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INNGEST_DEV", inngest_realtime_server.url)
    return inngest_realtime_server


async def receive(stream: AsyncIterator[Message[Any]], count: int, *, timeout: float = 5.0) -> list[Message[Any]]:
    """The next `count` messages of a subscription, or of its `get_json_stream()`.

    Args:
        timeout: Seconds for all of them together.

    Raises:
        TimeoutError: They did not come in time; the message says what did come.
    """
    received: list[Message[Any]] = []
    deadline = time.monotonic() + timeout
    while len(received) < count:
        try:
            received.append(await asyncio.wait_for(anext(stream), deadline - time.monotonic()))
        except (asyncio.TimeoutError, TimeoutError):
            raise _too_few(received, count, timeout) from None
        except StopAsyncIteration:
            raise _ended(received, count) from None
    return received


def receive_sync(stream: SyncSubscription, count: int, *, timeout: float = 5.0) -> list[Message[Any]]:
    """`receive` for threads and scripts.

    Args:
        timeout: Seconds for all of them together.

    Raises:
        TimeoutError: They did not come in time; the message says what did come.
    """
    received: list[Message[Any]] = []
    deadline = time.monotonic() + timeout
    while len(received) < count:
        try:
            message = stream.receive(timeout=deadline - time.monotonic())
        except TimeoutError:
            raise _too_few(received, count, timeout) from None
        if message is None:
            raise _ended(received, count)
        received.append(message)
    return received


def _too_few(received: list[Message[Any]], count: int, timeout: float) -> TimeoutError:
    return TimeoutError(f"{len(received)} of {count} messages came within {timeout} s: {received!r}.")


def _ended(received: list[Message[Any]], count: int) -> EOFError:
    return EOFError(f"The subscription ended after {len(received)} of {count} messages: {received!r}.")


class Event(msgspec.Struct, frozen=True):
    """One server-sent event.

    Attributes:
        data: Its text; line breaks join several `data:` lines.
        event: Its name: `message` when it has none, else `ready`, `gap`, `closing` or `end`.
        id: Its `id:`, or None.
    """

    data: str
    event: str = "message"
    id: str | None = None

    def json(self) -> Any:
        """The text as JSON: of a message what `Message.to_dict()` is."""
        return msgspec.json.decode(self.data)


def parse_events(body: bytes | str | Iterable[bytes]) -> list[Event]:
    """The events of a `text/event-stream` body, or of the chunks of one, as the HTML standard reads them.

    Comments, such as heartbeats, and an event that is not complete yet are left out.
    """
    if isinstance(body, str):
        text = body
    else:
        text = (body if isinstance(body, bytes) else b"".join(body)).decode("utf-8", "replace")
    events: list[Event] = []
    data: list[str] = []
    name, id = "", None
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Event("\n".join(data), name or "message", id))
            data, name, id = [], "", None
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            id = value
    return events
