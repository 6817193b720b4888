"""What the helpers for routes of one's own share: how a token or a subscription gets to a view."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest

from inngest_realtime_core import ConfigurationError, Realtime, Subscription
from inngest_realtime_core.endpoints.routes import hand_over, request_of
from inngest_realtime_devserver.server import DevServer


class Request:
    pass


class Wrapping:
    """As Django REST framework's request."""

    def __init__(self, request: Request) -> None:
        self._request = request


REQUEST = Request()


def is_request(argument: object) -> bool:
    return isinstance(getattr(argument, "_request", argument), Request)


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


View = Callable[..., Any]


def last(request: Any, run_id: str, token: str) -> Any:
    return request, run_id, token


def middle(request: Any, token: str, run_id: str) -> Any:
    return request, run_id, token


def first(token: str, request: Any, run_id: str) -> Any:
    return request, run_id, token


def keyword(request: Any, run_id: str, *, token: str) -> Any:
    return request, run_id, token


def keywords(request: Any, **more: str) -> Any:
    return request, more["run_id"], more["token"]


def other_name(request: Any, given: str, run_id: str) -> Any:
    return request, run_id, given


def positional(request: Any, token: str, /, run_id: str) -> Any:
    return request, run_id, token


@pytest.mark.parametrize("view", [last, middle, first, keyword, keywords, other_name, positional])
def test_a_view_gets_it_wherever_its_parameter_stands(view: View) -> None:
    with_token = hand_over(view, "token", after=is_request)
    assert with_token("secret", REQUEST, run_id="abc") == (REQUEST, "abc", "secret")


@pytest.mark.parametrize("view", [last, middle, first, keyword])
def test_the_frameworks_way_of_passing_arguments_does_not_matter(view: View) -> None:
    with_token = hand_over(view, "token", after=is_request)
    assert with_token("secret", request=REQUEST, run_id="abc") == (REQUEST, "abc", "secret")
    if view is not keyword:
        assert with_token("secret", REQUEST, "abc") == (REQUEST, "abc", "secret")


@pytest.mark.parametrize("request_", [REQUEST, Wrapping(REQUEST)], ids=["request", "wrapped"])
def test_a_method_gets_it_too(request_: object) -> None:
    class Page:
        def named(self, token: str, request: Any) -> Any:
            return self, request, token

        def unnamed(self, request: Any, given: str) -> Any:
            return self, request, given

    page = Page()
    for view in (Page.named, Page.unnamed):
        assert hand_over(view, "token", after=is_request)("secret", page, request_) == (page, request_, "secret")
    assert request_of(is_request, page, request_) is request_
    with pytest.raises(ConfigurationError, match="called without a request"):
        request_of(is_request, page)


async def fails(stream: object) -> None:
    await asyncio.sleep(0)
    raise LookupError


async def is_cancelled(stream: object) -> None:
    cast("Any", asyncio.current_task()).cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize(("view", "error"), [(fails, LookupError), (is_cancelled, asyncio.CancelledError)])
async def test_a_view_that_fails_leaves_no_subscription_open(
    server: DevServer, view: Callable[[object], Awaitable[None]], error: type[BaseException]
) -> None:
    async with Realtime(api_base_url=server.url) as realtime:
        stream = await realtime.subscribe(channel="own-routes", topics=["t"])
        assert isinstance(stream, Subscription)
        with pytest.raises(error):
            await asyncio.ensure_future(hand_over(view, "stream")(stream))
        assert realtime.stats().subscriptions == 0, "although a variable holds it"


def test_a_sync_view_that_fails_leaves_none_open_either(server: DevServer) -> None:
    def view(stream: object) -> None:
        raise LookupError

    realtime = Realtime(api_base_url=server.url, linger=0)
    stream = realtime.subscribe_sync(channel="own-routes-sync", topics=["t"])
    with pytest.raises(LookupError):
        hand_over(view, "stream")(stream)
    assert realtime.stats().subscriptions == 0, "although a variable holds it"
    realtime.close_sync()
