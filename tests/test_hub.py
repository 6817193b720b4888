"""Sharing, multiplexing, lingering, reconnecting and handing over, against the embedded server."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from inngest_realtime_core import (
    AuthenticationError,
    ConnectionLostError,
    Gap,
    Message,
    Realtime,
    UnexpectedResponseError,
    UnreachableError,
)
from inngest_realtime_core._hub import hub
from inngest_realtime_core._hub.options import Source
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh, receive, soon

# -- nothing is lost between subscribing and publishing ---------------------------------------------------------------


async def subscribe_and_publish(realtime: Realtime, server: DevServer, times: int) -> None:
    async def once(number: int) -> None:
        channel = fresh()
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            await server.publish(channel, "t", number)
            assert await receive(subscription, 1) == [number]

    for number in range(times // 10):
        await asyncio.gather(*(once(number * 10 + part) for part in range(10)))


@pytest.mark.parametrize("multiplex", [True, False])
@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_300_times_nothing_published_after_subscribing_is_lost(delay: float, multiplex: bool) -> None:
    async with DevServer(registration_delay=delay) as server:
        async with Realtime(api_base_url=server.url, linger=0, multiplex=multiplex) as realtime:
            await subscribe_and_publish(realtime, server, 300)


# -- sharing ----------------------------------------------------------------------------------------------------------


async def test_subscriptions_of_a_channel_share_what_comes(server: DevServer, realtime: Realtime, channel: str) -> None:
    subscriptions = [await realtime.subscribe(channel=channel, topics=["t"]) for _ in range(20)]
    await realtime.publish((channel, "t"), {"x": 1})
    messages = [await soon(anext(subscription)) for subscription in subscriptions]
    # Encoded once for all, and each has data of its own.
    assert len({id(message.to_sse()) for message in messages}) == 1
    messages[0].data["x"] = "changed"
    assert [message.data for message in messages[1:]] == [{"x": 1}] * 19
    stats = server.stats()
    assert (stats.connects, stats.token_requests, stats.subscriptions) == (1, 1, 1)
    counted = realtime.stats()
    assert (counted.sockets, counted.channels, counted.received, counted.delivered) == (1, 1, 1, 20)
    for subscription in subscriptions:
        await subscription.close()


async def test_subscribers_that_come_at_once_share_one_opening(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    subscriptions = await asyncio.gather(*(realtime.subscribe(channel=channel, topics=["t"]) for _ in range(50)))
    assert server.stats().connects == 1
    await realtime.publish((channel, "t"), 1)
    assert [await receive(subscription, 1) for subscription in subscriptions] == [[1]] * 50
    for subscription in subscriptions:
        await subscription.close()


async def test_more_topics_of_a_channel_are_added(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with (
        realtime.subscribe(channel=channel, topics=["a"]) as one,
        realtime.subscribe(channel=channel, topics=["a", "b"]) as both,
    ):
        await server.publish(channel, "b", "b")
        await server.publish(channel, "a", "a")
        assert await receive(both, 2) == ["b", "a"]
        assert await receive(one, 1) == ["a"]
        assert server.stats().connects == 1


async def test_a_page_reload_within_the_linger_loses_nothing(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=30) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as before:
            events = before.get_event_stream()
            await anext(events)
            await server.publish(channel, "t", 1)
            id = (await soon(anext(events))).rpartition(b"\nid: ")[2].strip().decode()
            await events.aclose()
        await server.publish(channel, "t", 2)
        await eventually(lambda: realtime.stats().received == 2)
        async with realtime.subscribe(channel=channel, topics=["t"]) as after:
            events = after.get_event_stream(last_event_id=id)
            await anext(events)
            assert b'"data":2' in await soon(anext(events))
            await events.aclose()
        stats = server.stats()
        assert (stats.connects, stats.token_requests) == (1, 1)


async def test_a_channel_that_is_taken_again_outlives_its_linger(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0.2) as realtime:
        await (await realtime.subscribe(channel=channel, topics=["t"])).close()
        async with realtime.subscribe(channel=channel, topics=["t"]) as again:
            other = fresh()
            # Its linger began later, so that of the first is over when it has gone.
            await (await realtime.subscribe(channel=other, topics=["t"])).close()
            await eventually(lambda: realtime.stats().channels == 1)
            await server.publish(channel, "t", 1)
            assert await receive(again, 1) == [1]


async def test_channels_that_linger_are_bounded(
    server: DevServer, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens many channels and leaves them at once costs no more than these; the latest may still return."""
    monkeypatch.setattr(hub, "_MAX_LINGERING", 3)
    async with Realtime(api_base_url=server.url, linger=30) as realtime:
        for number in range(8):
            async with realtime.subscribe(channel=f"{channel}{number}", topics=["t"]) as subscription:
                await realtime.publish((f"{channel}{number}", "t"), number)
                assert await receive(subscription, 1) == [number]
        await eventually(lambda: realtime.stats().channels == 3)
        await server.until(lambda stats: stats.subscriptions == 3)
        async with realtime.subscribe(channel=f"{channel}7", topics=["t"]):
            assert realtime.stats().channels == 3


async def test_a_channel_is_left_when_its_linger_is_over(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0.05) as realtime:
        async with realtime.subscribe(channel=fresh(), topics=["t"]):
            async with realtime.subscribe(channel=channel, topics=["t"]):
                await server.until(lambda stats: stats.subscriptions == 2)
            assert realtime.stats().channels == 2
            await server.until(lambda stats: stats.subscriptions == 1)
            assert realtime.stats().channels == 1
            assert server.stats().open_connections == 1
        await server.until(lambda stats: stats.open_connections == 0)


async def test_a_channel_that_is_retaken_at_once_still_delivers(server: DevServer, realtime: Realtime) -> None:
    """The server's leave/join race: a topic dropped and retaken at once can stay silent for good."""
    channel = fresh()
    async with realtime.subscribe(channel=fresh(), topics=["t"]):
        for number in range(50):
            subscription = await realtime.subscribe(channel=channel, topics=["t"])
            await server.publish(channel, "t", number)
            assert await receive(subscription, 1) == [number]
            closing = asyncio.ensure_future(subscription.close())
            if number % 2:
                await closing
        await closing


# -- multiplexing -----------------------------------------------------------------------------------------------------


async def test_many_channels_ride_on_one_socket(server: DevServer, realtime: Realtime) -> None:
    channels = [fresh() for _ in range(600)]
    subscriptions = await asyncio.gather(*(realtime.subscribe(channel=name, topics=["t"]) for name in channels))
    stats = server.stats()
    assert stats.connects == 1
    assert stats.token_requests <= 6
    assert stats.subscriptions == 600
    for number, name in enumerate(channels):
        await server.publish(name, "t", number)
    assert [await receive(subscription, 1) for subscription in subscriptions] == [[n] for n in range(600)]
    before = server.stats().token_requests
    server.drop_connections()
    gaps = [await soon(anext(subscription)) for subscription in subscriptions]
    assert all(gap.kind == "gap" for gap in gaps)
    assert server.stats().token_requests - before <= 6
    await asyncio.gather(*(subscription.close() for subscription in subscriptions))
    await server.until(lambda stats: stats.open_connections == 0)


async def test_a_socket_for_each_channel(server: DevServer) -> None:
    async with Realtime(api_base_url=server.url, multiplex=False, linger=0) as realtime:
        subscriptions = [await realtime.subscribe(channel=fresh(), topics=["t"]) for _ in range(5)]
        assert server.stats().open_connections == 5
        assert realtime.stats().sockets == 5
        await subscriptions[0].close()
        await server.until(lambda stats: stats.open_connections == 4)


async def test_a_slow_channel_harms_no_other(server: DevServer) -> None:
    async with Realtime(api_base_url=server.url, linger=0, buffer_size=16) as realtime:
        async with (
            realtime.subscribe(channel=fresh(), topics=["t"]) as slow,
            realtime.subscribe(channel=fresh(), topics=["t"]) as quick,
        ):
            stalled = slow.get_json_stream()
            for _ in range(200):
                await server.publish(slow.channel, "t", "x" * 20_000)
            await server.publish(quick.channel, "t", "through")
            assert await receive(quick, 1) == ["through"]
            gap = await soon(anext(stalled))
            assert isinstance(gap.data, Gap)
            await stalled.aclose()


async def test_a_channel_with_many_topics_gets_a_socket_of_its_own(server: DevServer, realtime: Realtime) -> None:
    topics = [f"topic-{number:04d}" for number in range(500)]
    async with (
        realtime.subscribe(channel=fresh(), topics=["t"]),
        realtime.subscribe(channel=fresh("many"), topics=topics) as many,
    ):
        assert server.stats().open_connections == 2
        await server.publish(many.channel, topics[-1], 1)
        assert await receive(many, 1) == [1]


# -- failures at the start --------------------------------------------------------------------------------------------


async def test_refused_tokens_raise(server: DevServer, realtime: Realtime, channel: str) -> None:
    for status, expected in ((401, AuthenticationError), (403, AuthenticationError), (500, UnexpectedResponseError)):
        server.reject_tokens(status)
        with pytest.raises(expected) as caught:
            await realtime.subscribe(channel=channel, topics=["t"])
        assert caught.value.status == status  # type: ignore[attr-defined]
    server.reject_tokens(None)
    for status, expected in ((401, AuthenticationError), (500, UnexpectedResponseError)):
        server.reject_connects(status)
        with pytest.raises(expected):
            await realtime.subscribe(channel=channel, topics=["t"])
    server.reject_connects(None)
    async with realtime.subscribe(channel=channel, topics=["t"]):
        assert realtime.stats().channels == 1
    assert realtime.stats().channels == 0


async def test_an_address_where_nobody_is(channel: str) -> None:
    async with Realtime(api_base_url="http://127.0.0.1:9") as realtime:
        with pytest.raises(UnreachableError):
            await realtime.subscribe(channel=channel, topics=["t"])
        assert realtime.stats().sockets == 0


async def test_a_rejection_for_one_channel_harms_no_other(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        server.reject_tokens(403)
        with pytest.raises(AuthenticationError):
            await realtime.subscribe(channel=fresh(), topics=["t"])
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]
        server.reject_tokens(None)


async def test_a_cancelled_subscribe_leaves_nothing(server: DevServer, realtime: Realtime) -> None:
    async def subscribe() -> None:
        await realtime.subscribe(channel=fresh(), topics=["t"])

    pending = asyncio.create_task(subscribe())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    pending.cancel()
    await asyncio.wait([pending])
    await eventually(lambda: realtime.stats().channels == 0)
    await server.until(lambda stats: stats.open_connections == 0)


# -- reconnecting -----------------------------------------------------------------------------------------------------


async def test_a_lost_connection_is_made_again_with_a_fresh_token_and_a_gap_in_its_place(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        for number in range(3):
            requests = server.stats().token_requests
            await server.publish(channel, "t", f"before {number}")
            await eventually(lambda number=number: realtime.stats().received == 2 * number + 1)  # type: ignore[misc]
            server.drop_connections()
            assert await receive(subscription, 2) == [f"before {number}", Gap("reconnect", None)]
            assert server.stats().token_requests == requests + 1
            # What comes after the gap was published after Inngest had us again: nothing more can be missed.
            await server.publish(channel, "t", f"after {number}")
            assert await receive(subscription, 1) == [f"after {number}"]
        stats = realtime.stats()
        assert (stats.reconnects, stats.gaps) == (3, 3)


async def test_a_restarted_server(channel: str) -> None:
    server = DevServer()
    async with server:
        realtime = Realtime(api_base_url=server.url, linger=0)
        subscription = await realtime.subscribe(channel=channel, topics=["t"])
    await eventually(lambda: subscription.state == "reconnecting")
    async with server:
        assert await receive(subscription, 1) == [Gap("reconnect", None)]
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]
        await realtime.close()


async def test_a_dead_connection_is_noticed_by_our_own_pings(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=0, ping_interval=0.05, ping_timeout=0.05) as realtime:
        async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
            server.freeze_connections()
            assert await receive(subscription, 1) == [Gap("reconnect", None)]
            await server.publish(channel, "t", 1)
            assert await receive(subscription, 1) == [1]


async def test_failures_while_reconnecting_are_tried_again(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        server.reject_tokens(500)
        server.drop_connections()
        requests = server.stats().token_requests
        await server.until(lambda stats: stats.token_requests >= requests + 2)
        assert subscription.state == "reconnecting"
        server.reject_tokens(None)
        assert await receive(subscription, 1) == [Gap("reconnect", None)]


@pytest.mark.parametrize("callback", [True, False])
async def test_on_error_is_told_once_of_an_outage_and_the_subscription_goes_on(
    server: DevServer, realtime: Realtime, channel: str, callback: bool
) -> None:
    errors: list[Exception] = []
    seen: list[Message[Any]] = []
    on_message = seen.append if callback else None
    subscription = await realtime.subscribe(
        channel=channel, topics=["t"], on_message=on_message, on_error=errors.append
    )
    server.reject_connects(503)
    server.drop_connections()
    await eventually(lambda: subscription.state == "reconnecting" and bool(errors))
    server.reject_connects(None)
    await eventually(lambda: subscription.state == "open")
    await server.publish(channel, "t", 1)
    if callback:
        await eventually(lambda: [message.kind for message in seen] == ["gap", "data"])
    else:
        assert await receive(subscription, 2) == [Gap("reconnect", None), 1]
    assert [type(error) for error in errors] == [ConnectionLostError]


async def test_a_later_rejection_ends_the_subscription_and_is_not_tried_again(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    errors: list[Exception] = []
    seen: list[Message[Any]] = []
    iterated = await realtime.subscribe(channel=channel, topics=["t"])
    called = await realtime.subscribe(channel=channel, topics=["t"], on_message=seen.append, on_error=errors.append)
    told: list[Exception] = []
    streamed = await realtime.subscribe(channel=channel, topics=["t"], on_error=told.append)
    encoded = streamed.get_encoded_stream()
    server.reject_tokens(401)
    await server.publish(channel, "t", 1)
    await eventually(lambda: seen != [])
    server.drop_connections()
    assert await receive(iterated, 1) == [1]
    with pytest.raises(AuthenticationError):
        await soon(anext(iterated))
    await eventually(lambda: len(errors) == len(told) == 2)
    kinds = [ConnectionLostError, AuthenticationError]
    assert [type(error) for error in errors] == [type(error) for error in told] == kinds
    assert [message.data for message in seen] == [1]
    assert iterated.state == called.state == "closed"
    requests = server.stats().token_requests
    assert b'"data":1' in await anext(encoded)
    with pytest.raises(AuthenticationError):
        await soon(anext(encoded))
    assert server.stats().token_requests == requests
    assert realtime.stats().channels == 0
    # The application may try again, on its own account.
    server.reject_tokens(None)
    async with realtime.subscribe(channel=channel, topics=["t"]) as again:
        await server.publish(channel, "t", 2)
        assert await receive(again, 1) == [2]


async def test_an_old_key_is_refused_when_the_connection_is_lost(channel: str) -> None:
    async with DevServer(token_ttl=0.2) as server, Realtime(api_base_url=server.url, linger=0) as realtime:
        token = await realtime.get_client_subscription_token(channel=channel, topics=["t"])
        subscription = await realtime.subscribe(channel=channel, topics=["t"], key=token.key)
        expired = time.monotonic() + 0.25
        await eventually(lambda: time.monotonic() > expired)
        server.drop_connections()
        with pytest.raises(AuthenticationError):
            await soon(anext(subscription))


# -- handing over -----------------------------------------------------------------------------------------------------


async def chunks_of(server: DevServer, parts: int) -> AsyncGenerator[str, None]:
    for number in range(parts):
        yield f"{number} "
        await asyncio.sleep(0)


async def test_a_closing_server_loses_and_repeats_nothing_of_2000_messages(
    server: DevServer, realtime: Realtime, channel: str
) -> None:
    async with realtime.subscribe(channel=channel, topics=["t", "u", "s"]) as subscription:
        received: dict[str, list[Any]] = {"t": [], "u": [], "s": []}

        async def read() -> None:
            async for message in subscription:
                received[message.topic].append(message.data)
                if len(received["t"]) == len(received["u"]) == 1000 and "end" in received["s"]:
                    return

        reader = asyncio.create_task(read())
        stream = asyncio.create_task(server.publish_stream(channel, "s", chunks_of(server, 400)))
        for number in range(1000):
            if number == 300:
                await server.begin_closing(grace=5)
            if number == 700:
                await server.begin_closing(grace=5)
            await server.publish(channel, "t", number)
            await server.publish(channel, "u", number)
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        await stream
        await server.publish(channel, "s", "end")
        await asyncio.wait_for(reader, 15)
    assert received["t"] == received["u"] == list(range(1000))
    text = "".join(part for part in received["s"][1:-2])
    assert text == "".join(f"{number} " for number in range(400))
    stats = realtime.stats()
    assert (stats.gaps, stats.dropped, stats.reconnects) == (0, 0, 0)
    assert server.stats().connects >= 2


async def test_the_old_connection_is_left_after_the_switch(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await server.begin_closing(grace=60)
        await server.until(lambda stats: stats.open_connections == 2)
        await server.until(lambda stats: stats.open_connections == 1)
        await server.publish(channel, "t", 1)
        assert await receive(subscription, 1) == [1]
        assert realtime.stats().sockets == 1


async def test_a_closing_server_without_a_successor(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        await server.begin_closing(grace=0.3, accept_new=False)
        await server.publish(channel, "t", "still on the old one")
        assert await receive(subscription, 1) == ["still on the old one"]
        await eventually(lambda: subscription.state == "reconnecting")
        await server.begin_closing(grace=0, accept_new=True)
        assert await receive(subscription, 1) == [Gap("reconnect", None)]


async def test_channels_that_join_during_a_switch(server: DevServer, realtime: Realtime) -> None:
    async with realtime.subscribe(channel=fresh(), topics=["t"]) as first:
        await server.begin_closing(grace=60)
        await server.until(lambda stats: stats.open_connections == 2)
        async with realtime.subscribe(channel=fresh(), topics=["t"]) as second:
            for number in range(20):
                await server.publish(first.channel, "t", number)
                await server.publish(second.channel, "t", number)
            assert await receive(first, 20) == await receive(second, 20) == list(range(20))


# -- resuming ---------------------------------------------------------------------------------------------------------


def data_of(body: bytes) -> list[Any]:
    return [json.loads(line[6:]).get("data") for line in body.decode().split("\n") if line.startswith("data: ")]


async def test_event_streams_resume_after_any_event(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t", "u"]) as subscription:
        events = subscription.get_event_stream()
        await anext(events)
        for number in range(10):
            await server.publish(channel, "tu"[number % 2], number)
        body = b""
        while len(data_of(body)) < 10:
            body += await soon(anext(events))
        ids = [line[4:] for line in body.decode().split("\n") if line.startswith("id: ")]
        assert len(set(ids)) == 10
        for number, id in enumerate(ids):
            resumed = subscription.get_event_stream(last_event_id=id)
            await anext(resumed)
            await server.publish(channel, "t", f"end {number}")
            missed = b""
            while f"end {number}" not in data_of(missed):
                missed += await soon(anext(resumed))
            expected = [*range(number + 1, 10), *(f"end {earlier}" for earlier in range(number + 1))]
            assert data_of(missed) == expected
            await resumed.aclose()
        await events.aclose()


async def test_an_unknown_last_event_id_gets_a_gap(server: DevServer, realtime: Realtime, channel: str) -> None:
    async with realtime.subscribe(channel=channel, topics=["t"]) as subscription:
        events = subscription.get_event_stream(last_event_id="unknown")
        await anext(events)
        event, _, id = (await soon(anext(events))).rpartition(b"\nid: ")
        assert event == (
            b'event: gap\ndata: {"channel":"%b","data":{"reason":"expired","missed":null},"kind":"gap"}'
            % channel.encode()
        )
        assert id.strip()
        await events.aclose()


async def test_tokens_for_browsers_are_coalesced(server: DevServer, realtime: Realtime, channel: str) -> None:
    mint = realtime.get_client_subscription_token
    tokens = await asyncio.gather(*(mint(channel=channel, topics=["t"]) for _ in range(1_000)))
    assert len({token.key for token in tokens}) == 1
    other = await mint(channel=channel, topics=["u"])
    assert other.key != tokens[0].key
    assert server.stats().token_requests == 2


async def test_newcomers_wait_no_longer_than_they_are_told_while_inngest_stalls(
    channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second too, whose turn comes after the first one's."""
    monkeypatch.setattr(hub, "_OPEN_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Realtime(api_base_url=f"http://127.0.0.1:{silent.getsockname()[1]}") as realtime:
            began = time.monotonic()
            opening = [
                asyncio.ensure_future(realtime.subscribe(channel=f"{channel}{number}", topics=["t"]).__aenter__())
                for number in range(3)
            ]
            for outcome in await asyncio.gather(*opening, return_exceptions=True):
                assert isinstance(outcome, UnreachableError)
                assert "did not confirm the subscription within" in str(outcome)
            assert 0.25 < time.monotonic() - began < 2
            assert realtime.stats().channels == 0


async def test_a_channel_that_nobody_ever_read_does_not_linger(server: DevServer, channel: str) -> None:
    async with Realtime(api_base_url=server.url, linger=60) as realtime:
        feed = await realtime._hub().open(channel, ["t"], Source())
        feed.release()
        await server.until(lambda stats: stats.open_connections == 0)
        assert realtime.stats().channels == 0
        async with realtime.subscribe(channel=channel, topics=["t"]):
            pass
        assert realtime.stats().channels == 1
