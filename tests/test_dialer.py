"""Making connections: which topics go where, and what one bad name costs the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inngest_fake import REJECTED, FakeInngest, FakeTransport, ignore
from inngest_realtime_core import AuthenticationError, InngestError, TopicError, UnexpectedResponseError
from inngest_realtime_core._api.tokens import Entry, IssuedToken
from inngest_realtime_core._upstream.connection import Connection
from inngest_realtime_core._upstream.dialer import Dialer
from inngest_realtime_core._upstream.transport import HandshakeError


def entries(count: int, name: str = "channel") -> list[Entry]:
    return [(f"{name}-{number}", "t") for number in range(count)]


def bad(status: int = 400) -> InngestError:
    return UnexpectedResponseError("no such topic", url="", status=status)


async def dial(dialer: Dialer, wanted: Sequence[Entry]) -> tuple[Connection, dict[Entry, Exception]]:
    connection, rejected = await dialer.dial(wanted, on_change=ignore, on_undelivered=ignore)
    return connection, {entry: error for entry, error in rejected.items() if error is not None}


async def test_a_connection_is_proved_before_it_is_had() -> None:
    inngest = FakeInngest()
    connection, rejected = await dial(inngest.dialer(), entries(2))
    assert inngest.requests == [entries(2)]
    assert inngest.transports[0].log == ["ping"]
    assert rejected == {}
    await connection.close()


async def test_one_that_is_not_proved_is_closed() -> None:
    inngest = FakeInngest()

    def silence(transport: FakeTransport) -> None:
        transport.silent = True

    inngest.on_open = silence
    with pytest.raises(InngestError, match="no pong"):
        await dial(inngest.dialer(), entries(1))
    assert not inngest.transports[0].open


async def test_topics_that_one_token_has_no_room_for_are_added_in_frames() -> None:
    inngest = FakeInngest()
    wanted = entries(5_000, "c" * 60)
    connection, rejected = await dial(inngest.dialer(), wanted)
    assert [entry for request in inngest.requests for entry in request] == wanted
    assert len(inngest.requests) > 1
    assert inngest.transports[0].log == ["ping", *["sub", "ping"] * (len(inngest.requests) - 1)]
    assert rejected == {}
    await connection.close()


@pytest.mark.parametrize("count", [1, 3])
async def test_bad_names_cost_the_others_nothing(count: int) -> None:
    inngest = FakeInngest()
    wanted = entries(20)
    inngest.wrong = dict.fromkeys(wanted[5 : 5 + count], bad())
    connection, rejected = await dial(inngest.dialer(), wanted)
    assert rejected.keys() == inngest.wrong.keys()
    assert sorted(inngest.requests[-1]) == sorted(set(wanted) - inngest.wrong.keys())
    await connection.close()


async def test_so_many_bad_names_that_the_search_is_given_up_are_an_error_unless_a_part_will_do() -> None:
    inngest = FakeInngest()
    wanted = entries(175)
    inngest.wrong = dict.fromkeys(wanted[::4], bad())
    with pytest.raises(UnexpectedResponseError):
        await inngest.dialer().request(wanted)
    assert len(inngest.requests) == 41
    result = await inngest.dialer().request(wanted, partial=True)
    assert result.entries
    assert inngest.wrong.keys().isdisjoint(result.entries)
    assert result.rejected.keys() <= inngest.wrong.keys()
    assert {*result.entries, *result.rejected} < {*wanted}


async def test_all_names_bad_is_an_error() -> None:
    inngest = FakeInngest()
    inngest.wrong = dict.fromkeys(entries(4), bad())
    with pytest.raises(UnexpectedResponseError):
        await dial(inngest.dialer(), entries(4))
    assert inngest.transports == []


@pytest.mark.parametrize("status", [401, 429, 500, None])
async def test_a_failure_that_no_name_causes_is_not_searched_for_one(status: int | None) -> None:
    inngest = FakeInngest()
    inngest.wrong = {entries(1)[0]: InngestError("busy", url="", status=status)}
    with pytest.raises(InngestError):
        await dial(inngest.dialer(), entries(8))
    assert len(inngest.requests) == 1


async def test_a_url_that_is_too_long_is_made_shorter_and_stays_so() -> None:
    inngest = FakeInngest()
    dialer = inngest.dialer()
    inngest.connect_failures = [HandshakeError("", status=414)]
    connection, _ = await dial(dialer, entries(500))
    assert len(inngest.transports[0].token) < 6_000
    assert len(inngest.requests[0]) == 500
    await connection.close()
    inngest.requests.clear()
    connection, _ = await dial(dialer, entries(500))
    assert len(inngest.requests[0]) < 100
    await connection.close()


async def test_a_server_that_hangs_up_on_long_urls_is_tried_three_times() -> None:
    inngest = FakeInngest()
    dialer = inngest.dialer()
    inngest.connect_failures = [HandshakeError("hung up") for _ in range(3)]
    for _ in range(2):
        with pytest.raises(InngestError):
            await dial(dialer, entries(500))
    connection, _ = await dial(dialer, entries(500))
    assert inngest.attempts == 4
    await connection.close()


async def test_a_short_url_is_never_taken_for_too_long() -> None:
    inngest = FakeInngest()
    inngest.connect_failures = [HandshakeError("", status=400)]
    with pytest.raises(UnexpectedResponseError):
        await dial(inngest.dialer(), entries(1))
    assert inngest.attempts == 1


async def test_a_rejected_token_is_not_tried_with_a_shorter_url() -> None:
    inngest = FakeInngest()
    inngest.connect_failures = [HandshakeError("", status=401, content=REJECTED)]
    with pytest.raises(AuthenticationError):
        await dial(inngest.dialer(), entries(500))


async def test_a_frame_that_is_too_large_is_sent_in_halves() -> None:
    inngest = FakeInngest()
    dialer = inngest.dialer()
    connection, _ = await dial(dialer, entries(1))
    wanted = entries(4, "x" * 10_000)
    assert await dialer.add(connection, await dialer.request(wanted)) == dict.fromkeys(wanted)
    frames = [frame for frame in inngest.transports[0].sent if frame["kind"] == "sub"]
    assert sorted(name.rpartition("/")[0] for frame in frames for name in frame["data"].split(",")) == sorted(
        channel for channel, _ in wanted
    )
    assert all(len(frame["data"]) < 32_768 for frame in frames)
    with pytest.raises(TopicError):
        await dialer.add(connection, await dialer.request(entries(1, "x" * 33_000)))
    await connection.close()


async def test_topics_are_taken_off_in_the_environment_of_their_token() -> None:
    inngest = FakeInngest()
    dialer = inngest.dialer()
    connection, _ = await dial(dialer, entries(2))
    await dialer.remove(connection, entries(1))
    assert inngest.transports[0].sent == [
        {"kind": "unsub", "data": [{"kind": "run", "channel": "channel-0", "name": "t", "env_id": "env-1"}]}
    ]
    assert inngest.transports[0].log[-1] == "ping"
    await connection.close()


def test_nothing_of_a_token_is_in_its_repr() -> None:
    assert "secret" not in repr(IssuedToken("secret", None))


async def test_the_connection_of_an_attempt_that_failed_is_closed() -> None:
    inngest = FakeInngest()
    wanted = entries(5_000, "c" * 60)
    inngest.wrong = {wanted[-1]: bad(500)}  # of the second token
    with pytest.raises(UnexpectedResponseError):
        await dial(inngest.dialer(), wanted)
    assert [transport.open for transport in inngest.transports] == [False]


async def test_topics_are_taken_off_in_the_environment_of_the_last_token() -> None:
    inngest = FakeInngest()
    dialer = inngest.dialer()
    connection, _ = await dial(dialer, entries(1))
    inngest.env_id = "env-2"
    await dialer.add(connection, await dialer.request(entries(2)))
    await dialer.remove(connection, entries(2))
    assert {entry["env_id"] for entry in inngest.transports[0].sent[-1]["data"]} == {"env-2"}
    await connection.close()
