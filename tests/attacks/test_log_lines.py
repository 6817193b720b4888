"""What fails for each message, over and over and on many channels, costs the log a bounded number of lines."""

from __future__ import annotations

import logging
from types import ModuleType

import pytest

from inngest_fake import Channel as FakeChannel
from inngest_fake import FakeInngest
from inngest_realtime_core._telemetry.throttled_log import ThrottledLog
from inngest_realtime_core._upstream import connection as connection_module
from inngest_realtime_core._upstream import registry as registry_module
from inngest_realtime_core._upstream.registry import ChannelRegistry
from inngest_realtime_core.messages.envelope import Envelope
from talk import eventually
from wire import frame, message_of


def events(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "event", None) == event]


@pytest.fixture(autouse=True)
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have written counts no longer, and a busy machine does not reach the next interval."""
    modules: tuple[ModuleType, ...] = (connection_module, registry_module)
    for module in modules:
        monkeypatch.setattr(module, "_log", ThrottledLog(logging.getLogger("inngest_realtime.attacked"), interval=600))


class Broken(FakeChannel):
    def receive(self, envelope: Envelope) -> None:
        raise LookupError(envelope.channel)


async def test_messages_that_cannot_be_delivered_make_one_line(caplog: pytest.LogCaptureFixture) -> None:
    registry = ChannelRegistry()
    registry.join(Broken("a", "t"), ["t"])
    registry.join(Broken("b", "t"), ["t"])
    registry.join(good := FakeChannel("c", "t"), ["t"])
    for number in range(1, 50):
        for channel in ("a", "b", "c"):
            registry.route(message_of(number, channel=channel))
    assert len(good.told) == 49
    written = events(caplog, "message.undelivered")
    assert len(written) == 2  # one for each channel
    assert all(record.exc_info for record in written)
    assert "Traceback" not in written[0].getMessage()


async def test_a_connection_whose_messages_cannot_be_delivered_makes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    seen = 0

    def deliver(envelope: Envelope) -> None:
        nonlocal seen
        seen += 1
        if seen % 2:
            raise LookupError

    connection, transport = await FakeInngest().connection()
    connection.deliver(deliver)
    transport.bring(*(frame(number) for number in range(300)))
    await eventually(lambda: connection.handled == 300)
    assert seen == 300
    await connection.close()
    assert len(events(caplog, "message.undelivered")) == 1
