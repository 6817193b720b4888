"""Which socket a channel rides on. Nothing here connects: the upstreams are closed before they get to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inngest_fake import Channel
from inngest_realtime_core import Settings
from inngest_realtime_core._api.client import ApiClient
from inngest_realtime_core._hub.options import HubOptions, Source
from inngest_realtime_core._hub.placement import Placement
from inngest_realtime_core._upstream.batching import MAX_URL_TOKEN
from inngest_realtime_core._upstream.upstream import Upstream
from inngest_realtime_core.stats import Counters

HERE = Source()


def placement_with(**options: bool) -> Placement:
    api = ApiClient(Settings.resolve(None, api_base_url="http://127.0.0.1:1"), keep=False)
    return Placement(api, HubOptions(**options), Counters())


@pytest.fixture
async def placement() -> AsyncIterator[Placement]:
    placement = placement_with()
    yield placement
    await placement.close()


def put(placement: Placement, name: str, source: Source = HERE, topics: tuple[str, ...] = ("t",)) -> Upstream:
    upstream = placement.upstream_for(name, source, topics)
    upstream.join(Channel(name, *topics), topics)
    return upstream


async def test_a_socket_takes_a_thousand_channels(placement: Placement) -> None:
    upstreams = [put(placement, f"c{number}") for number in range(1_001)]
    assert len(set(upstreams[:1_000])) == 1
    assert upstreams[1_000] is not upstreams[0]
    assert upstreams[0].channels == 1_000


async def test_a_socket_takes_what_fits_the_token_of_one_url(placement: Placement) -> None:
    name = "x" * 5_000
    upstreams = [put(placement, f"{name}{number}") for number in range(200)]
    assert 1 < len(set(upstreams)) < 5
    assert all(upstream.token_size <= MAX_URL_TOKEN for upstream in upstreams)


async def test_room_that_was_given_back_is_used(placement: Placement) -> None:
    full, *_ = [put(placement, f"c{number}") for number in range(1_000)]
    leaver = Channel("c0", "t")
    full.leave(leaver)
    assert put(placement, "new") is full


async def test_a_large_channel_and_a_key_of_its_own_get_a_socket_of_their_own(placement: Placement) -> None:
    shared = put(placement, "a")
    large = put(placement, "b" * 13_000)
    keyed = put(placement, "c", Source(key="issued elsewhere"))
    assert len({shared, large, keyed}) == 3
    assert large.dedicated
    assert keyed.dedicated
    assert put(placement, "d") is shared
    assert put(placement, "e", Source(key="issued elsewhere")) is not keyed


async def test_another_inngest_gets_another_socket(placement: Placement) -> None:
    elsewhere = Source("http://127.0.0.1:2")
    assert put(placement, "a") is not put(placement, "a", elsewhere)
    assert put(placement, "b", elsewhere) is not put(placement, "b")


async def test_without_multiplexing_each_channel_has_a_socket() -> None:
    placement = placement_with(multiplex=False)
    assert put(placement, "a") is not put(placement, "b")
    await placement.close()


async def test_what_has_ended_is_not_used_again(placement: Placement) -> None:
    ended = put(placement, "a")
    await ended.close()
    assert put(placement, "b") is not ended


async def test_a_dedicated_socket_takes_no_other_channel(placement: Placement) -> None:
    """Even when it is the only one and has room."""
    large = put(placement, "b" * 13_000)
    assert put(placement, "small") is not large
