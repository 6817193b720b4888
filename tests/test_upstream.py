"""One upstream, without a socket: connecting, joining, leaving, and being lost."""

from __future__ import annotations

import asyncio

import pytest

from inngest_fake import REJECTED, Channel, FakeInngest
from inngest_realtime_core import AuthenticationError, ConnectionLostError, UnexpectedResponseError, UnreachableError
from inngest_realtime_core._upstream import connecting
from inngest_realtime_core._upstream.backoff import Backoff, RetryGate
from inngest_realtime_core._upstream.transport import HandshakeError
from inngest_realtime_core._upstream.upstream import Upstream
from talk import at_once, eventually, soon
from wire import frame


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_delay", lambda self: 0.001)


@pytest.fixture
def inngest() -> FakeInngest:
    return FakeInngest()


async def opened(inngest: FakeInngest, *channels: Channel, retry_gate: RetryGate | None = None) -> Upstream:
    upstream = inngest.upstream(retry_gate)
    await soon(asyncio.gather(*(upstream.join(channel, channel.topics) for channel in channels)))
    return upstream


async def test_all_who_join_at_once_share_a_token_and_a_connection(inngest: FakeInngest) -> None:
    channels = [Channel(f"c{n}", "t") for n in range(10)]
    upstream = await opened(inngest, *channels)
    assert len(inngest.requests) == len(inngest.transports) == 1
    assert (upstream.state, upstream.sockets, upstream.channels) == ("open", 1, 10)
    assert all(channel.confirmed == {"t"} for channel in channels)
    await upstream.close()
    assert (upstream.state, upstream.sockets, upstream.channels, upstream.token_size) == ("closed", 0, 0, 0)
    assert not inngest.transports[0].open


async def test_who_joins_later_is_added_and_proved_on_the_same_connection(inngest: FakeInngest) -> None:
    a, b = Channel("a", "t"), Channel("b", "t", "u")
    upstream = await opened(inngest, a)
    await soon(upstream.join(b, ["t", "u"]))
    assert [sorted(request) for request in inngest.requests] == [[("a", "t")], [("b", "t"), ("b", "u")]]
    assert inngest.transports[0].log == ["ping", "sub", "ping"]
    inngest.transports[0].bring(frame(1, channel="b"), frame(2, channel="a"))
    await eventually(lambda: (a.told, b.told) == (["2"], ["1"]))
    await upstream.close()


async def test_the_retry_gate_is_told_of_a_success(inngest: FakeInngest) -> None:
    retry_gate = RetryGate(threshold=3)
    retry_gate.failed()
    retry_gate.failed()
    upstream = await opened(inngest, Channel("c", "t"), retry_gate=retry_gate)
    retry_gate.failed()
    assert not retry_gate.closed
    await upstream.close()


async def test_the_retry_gate_is_told_of_failures_and_not_of_rejections(inngest: FakeInngest) -> None:
    retry_gate = RetryGate(threshold=1)
    inngest.connect_failures = [HandshakeError("", status=401, content=REJECTED)]
    with pytest.raises(AuthenticationError):
        await opened(inngest, Channel("c", "t"), retry_gate=retry_gate)
    assert not retry_gate.closed
    inngest.connect_failures = [HandshakeError("did nothing")]
    with pytest.raises(UnreachableError):
        await opened(inngest, Channel("c", "t"), retry_gate=retry_gate)
    assert retry_gate.closed


async def test_a_newcomer_is_not_queued_behind_a_closed_retry_gate(inngest: FakeInngest) -> None:
    retry_gate = RetryGate(threshold=1)
    retry_gate.failed()
    waiting = asyncio.ensure_future(retry_gate.wait())
    await asyncio.sleep(0)
    with pytest.raises(UnreachableError, match="several times in a row"):
        await opened(inngest, Channel("c", "t"), retry_gate=retry_gate)
    assert inngest.requests == []
    waiting.cancel()


async def test_a_topic_that_was_left_while_it_was_being_subscribed_is_unsubscribed(inngest: FakeInngest) -> None:
    staying, leaving = Channel("staying", "t"), Channel("leaving", "t")
    upstream = inngest.upstream(ping_timeout=5.0)
    await soon(upstream.join(staying, ["t"]))
    transport = inngest.transports[0]
    transport.silent = True
    upstream.join(leaving, ["t"])
    await eventually(lambda: transport.log[-2:] == ["sub", "ping"])
    left = upstream.leave(leaving)
    transport.pong()
    await soon(left)
    assert [entry["channel"] for sent in transport.sent if sent["kind"] == "unsub" for entry in sent["data"]] == [
        "leaving"
    ]
    await upstream.close()


async def test_who_left_while_the_token_was_made_is_not_subscribed(inngest: FakeInngest) -> None:
    upstream = await opened(inngest, Channel("staying", "t"))
    inngest.mint_gate.clear()
    leaving = Channel("leaving", "t")
    upstream.join(leaving, ["t"])
    await eventually(lambda: len(inngest.requests) == 2)
    left = upstream.leave(leaving)
    inngest.mint_gate.set()
    await soon(left)
    await asyncio.sleep(0.01)
    assert inngest.transports[0].sent == []
    await upstream.close()


async def test_those_who_leave_do_not_keep_out_those_who_join(inngest: FakeInngest) -> None:
    """Each departure is followed by another one while somebody waits with a token at hand."""
    leaving = [Channel(f"leaving-{n}", "t") for n in range(10)]
    upstream = await opened(inngest, Channel("staying", "t"), *leaving)
    transport = inngest.transports[0]

    def next_one(_: object = None) -> None:
        if leaving:
            upstream.leave(leaving.pop())

    transport.on_send = next_one
    joining = upstream.join(Channel("joining", "t"), ["t"])
    next_one()
    await soon(joining)
    assert transport.log.count("unsub") <= 2
    await eventually(lambda: not leaving)
    await upstream.close()


async def test_a_departure_is_over_once_it_is_proved(inngest: FakeInngest) -> None:
    leaving = Channel("leaving", "t")
    upstream = inngest.upstream(ping_timeout=5.0)
    await soon(asyncio.gather(upstream.join(Channel("staying", "t"), ["t"]), upstream.join(leaving, ["t"])))
    transport = inngest.transports[0]
    transport.silent = True
    left = upstream.leave(leaving)
    await eventually(lambda: transport.log[-2:] == ["unsub", "ping"])
    assert not left.done()
    transport.pong()
    await soon(left)
    await upstream.close()


async def test_the_last_who_leaves_closes_the_connection_before_being_told(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.transports[0].close_delay = 0.02
    left = upstream.leave(channel)
    await soon(left)
    assert not inngest.transports[0].open
    assert inngest.transports[0].sent == []
    assert not upstream.alive


async def test_who_leaves_before_the_last_one_is_told_once_the_connection_is_closed(inngest: FakeInngest) -> None:
    """The last one leaves while the departure of the other is on its way."""
    a, b = Channel("a", "t"), Channel("b", "t")
    upstream = inngest.upstream(ping_timeout=5.0)
    await soon(asyncio.gather(upstream.join(a, ["t"]), upstream.join(b, ["t"])))
    (transport,) = inngest.transports
    transport.silent = True
    transport.close_delay = 0.02
    open_when_told: list[bool] = []
    left = [upstream.leave(a)]
    await eventually(lambda: transport.log[-2:] == ["unsub", "ping"])
    left.append(upstream.leave(b))
    for future in left:
        future.add_done_callback(lambda _: open_when_told.append(transport.open))
    transport.pong()
    await soon(asyncio.gather(*left))
    assert open_when_told == [False, False]
    assert not upstream.alive


async def test_a_lost_connection_is_made_again_with_a_fresh_token_and_told_once(inngest: FakeInngest) -> None:
    a, b = Channel("a", "t"), Channel("b", "t")
    upstream = await opened(inngest, a, b)
    first = inngest.transports[0]
    first.bring(frame(1, channel="a"))
    first.end()
    await eventually(lambda: len(inngest.transports) == 2 and upstream.state == "open")
    assert a.told == ["1", "lost"]
    assert b.told == ["lost"]
    assert inngest.requests[0] == inngest.requests[1]
    inngest.transports[1].bring(frame(2, channel="a"))
    await eventually(lambda: a.told == ["1", "lost", "2"])
    await upstream.close()


async def test_what_comes_with_the_new_connection_follows_the_gap(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.on_open = lambda transport: transport.bring(frame(1))
    inngest.transports[0].end()
    await eventually(lambda: channel.told == ["lost", "1"])
    await upstream.close()


async def test_reconnecting_goes_on_until_it_succeeds(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.connect_failures = [HandshakeError("did nothing") for _ in range(3)]
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "reconnecting")
    await eventually(lambda: upstream.state == "open")
    assert channel.told == ["lost"]
    await upstream.close()


async def test_who_joins_during_an_outage_is_told_and_those_who_were_here_are_kept(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.connect_failures = [HandshakeError("did nothing") for _ in range(1_000)]
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "reconnecting")
    with pytest.raises(UnreachableError):
        await soon(upstream.join(Channel("new", "t"), ["t"]))
    inngest.connect_failures.clear()
    await eventually(lambda: upstream.state == "open")
    assert channel.told == ["lost"]
    await upstream.close()


async def test_somebody_who_joins_shortens_the_pause(inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_delay", lambda self: 60.0)
    monkeypatch.setattr(connecting, "_MAX_JOIN_WAIT", 0.0)
    upstream = await opened(inngest, Channel("c", "t"))
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "reconnecting")
    await asyncio.sleep(0.05)
    assert len(inngest.transports) == 1
    joining = upstream.join(Channel("new", "t"), ["t"])
    await at_once(joining.done)
    assert len(inngest.transports) == 2
    await upstream.close()


async def test_nobody_waits_for_a_pause_to_leave(inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_delay", lambda self: 60.0)
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "reconnecting")
    await soon(upstream.leave(channel))
    assert not upstream.alive


async def test_the_connection_lost_while_joining_takes_the_joiner_along(inngest: FakeInngest) -> None:
    a, b = Channel("a", "t"), Channel("b", "t")
    upstream = await opened(inngest, a)
    inngest.transports[0].on_send = lambda _: inngest.transports[0].end()
    await soon(upstream.join(b, ["t"]))
    assert len(inngest.transports) == 2
    assert (a.told, b.told) == (["lost"], [])
    await upstream.close()


async def test_a_bad_name_that_joins_is_told_and_costs_the_others_nothing(inngest: FakeInngest) -> None:
    a, good, wrong = Channel("a", "t"), Channel("good", "t"), Channel("wrong", "t")
    upstream = await opened(inngest, a)
    inngest.wrong = {("wrong", "t"): UnexpectedResponseError("bad name", url="", status=400)}
    bad = upstream.join(wrong, ["t"])
    await soon(upstream.join(good, ["t"]))
    with pytest.raises(UnexpectedResponseError):
        await soon(bad)
    assert a.told == good.told == wrong.told == []
    assert upstream.channels == 2
    await upstream.close()


async def test_a_defect_is_told_to_all_rather_than_leaving_them_waiting(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.connect_failures = [LookupError("a defect")]
    inngest.transports[0].end()
    await eventually(lambda: len(channel.told) == 1)
    assert isinstance(channel.told[0], UnreachableError)
    await eventually(lambda: not upstream.alive)


async def test_a_lost_connection_is_reported_once_however_long_the_outage(
    inngest: FakeInngest, caplog: pytest.LogCaptureFixture
) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.connect_failures = [HandshakeError("did nothing") for _ in range(3)]
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "open" and len(inngest.transports) == 2)
    assert [type(error) for error in channel.reported] == [ConnectionLostError]
    assert channel.told == ["lost"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings[0].startswith("The connection to Inngest was lost (")
    assert warnings[-1] == "Connected to Inngest again after 0 s."
    await upstream.close()


PAGE = b"<html>Please log in</html>"


async def test_a_rejection_that_is_not_inngests_own_ends_nothing_for_a_minute(
    inngest: FakeInngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel, retry_gate=RetryGate(threshold=10_000))
    inngest.connect_failures = [HandshakeError("", status=403, content=PAGE) for _ in range(5)]
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "open" and len(inngest.transports) == 2)
    assert channel.told == ["lost"]
    monkeypatch.setattr(connecting, "_FOREIGN_REJECTIONS", 0.1)
    inngest.connect_failures = [HandshakeError("", status=401, content=PAGE) for _ in range(1_000)]
    inngest.transports[1].end()
    await eventually(lambda: not upstream.alive)
    (_, error) = channel.told
    assert isinstance(error, AuthenticationError)
    assert not error.by_inngest
    assert "may have responded in its place" in str(error)
    assert len(inngest.connect_failures) < 997


async def test_inngests_own_rejection_of_the_key_is_final_at_once(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.wrong = {("c", "t"): AuthenticationError("no", url="http://inngest.test/v1/realtime/token", status=401)}
    inngest.transports[0].end()
    await eventually(lambda: not upstream.alive)
    assert channel.told == [inngest.wrong["c", "t"]]
    assert len(inngest.requests) == 2


@pytest.mark.parametrize("first", [True, False])
async def test_forty_bad_names_cost_135_others_nothing(inngest: FakeInngest, first: bool) -> None:
    """Whether they come with the first connection or join an open one."""
    upstream = inngest.upstream()
    if not first:
        await soon(upstream.join(Channel("here", "t"), ["t"]))
    channels = [Channel(f"{'bad' if n % 4 == 0 and n < 160 else 'good'}-{n}", "t") for n in range(175)]
    inngest.wrong = {
        (channel.channel, "t"): UnexpectedResponseError("bad name", url="", status=400)
        for channel in channels
        if channel.channel.startswith("bad")
    }
    joins = [upstream.join(channel, ["t"]) for channel in channels]
    results = await soon(asyncio.gather(*joins, return_exceptions=True))
    assert [result is None for result in results] == [channel.channel.startswith("good") for channel in channels]
    assert len(inngest.wrong) == 40
    for n in (1, 174):
        inngest.transports[0].bring(frame(n, channel=f"good-{n}"))
    await eventually(lambda: channels[1].told == ["1"] and channels[174].told == ["174"])
    # A reconnect asks for what was delivered, all at once.
    inngest.requests.clear()
    inngest.transports[0].end()
    await eventually(lambda: upstream.state == "open" and len(inngest.transports) == 2)
    assert [len(request) for request in inngest.requests] == [136 - first]
    await upstream.close()


async def test_a_bad_name_that_joins_during_an_outage_does_not_hold_up_the_others(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.wrong = {("wrong", "t"): UnexpectedResponseError("bad name", url="", status=400)}
    inngest.transports[0].end()
    bad = upstream.join(Channel("wrong", "t"), ["t"])
    with pytest.raises(UnexpectedResponseError):
        await soon(bad)
    assert channel.told == ["lost"]
    assert inngest.requests[1] == [("c", "t")]
    await upstream.close()


async def test_rejections_are_counted_anew_after_a_connection(inngest: FakeInngest) -> None:
    """One rejection at each of two outages is no second one in a row."""
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    for count in (2, 3):
        inngest.connect_failures = [HandshakeError("", status=401, content=REJECTED)]
        inngest.transports[-1].end()
        await eventually(
            lambda count=count: not upstream.alive or (upstream.state == "open" and len(inngest.transports) == count)
        )
    assert channel.told == ["lost", "lost"]
    await upstream.close()


async def test_a_token_request_that_is_under_way_ends_with_the_connection(inngest: FakeInngest) -> None:
    upstream = await opened(inngest, Channel("c", "t"))
    inngest.mint_gate.clear()
    joining = upstream.join(Channel("new", "t"), ["t"])
    await eventually(lambda: len(inngest.requests) == 2)
    inngest.transports[0].end()
    await eventually(lambda: len(inngest.requests) == 3)
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "inngest-realtime token"]) == 0
    inngest.mint_gate.set()
    await soon(joining)
    await upstream.close()


async def test_those_who_left_are_told_when_the_connection_is_lost_meanwhile(inngest: FakeInngest) -> None:
    leaving = Channel("leaving", "t")
    upstream = await opened(inngest, Channel("staying", "t"), leaving)
    inngest.connect_failures = [HandshakeError("did nothing") for _ in range(1_000)]
    inngest.transports[0].end()
    await soon(upstream.leave(leaving))
    await upstream.close()


async def test_states_are_told(inngest: FakeInngest) -> None:
    channel = Channel("c", "t")
    upstream = await opened(inngest, channel)
    inngest.transports[0].end()
    await eventually(lambda: len(inngest.transports) == 2 and upstream.state == "open")
    await upstream.close()
    assert channel.states == ["open", "reconnecting", "open", "closed"]
