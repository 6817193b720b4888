"""Wrong kinds in each position of the public functions: an error of ours that says what was expected."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from inngest_realtime_core import (
    Channel,
    ChannelError,
    ConfigurationError,
    Grant,
    PublishError,
    Realtime,
    RealtimeError,
    Replay,
    Settings,
    TopicError,
    allow_anyone,
    get_client_subscription_token,
    get_client_subscription_token_sync,
    subscribe,
    subscribe_sync,
    topic,
)
from inngest_realtime_core.endpoints.options import EndpointOptions
from talk import Pipeline

NOWHERE = "http://127.0.0.1:9"
REALTIME = Realtime(api_base_url=NOWHERE)


class Plain(Channel, name="plain"):
    t = topic(str)


CH = Plain()

# What is given in the wrong place: each of these where it is not what is expected.
WRONG: dict[str, Any] = {
    "none": None,
    "number": 7,
    "fraction": 1.5,
    "flag": True,
    "text": "x:y",
    "empty": "",
    "bytes": b"x",
    "list": ["x"],
    "dict": {"a": 1},
    "pair": ("x", "y"),
    "triple": ("x", "y", "z"),
    "object": object(),
    "class": Pipeline,
    "other class": int,
    "channel": CH,
    "topic of the class": Plain.t,
    "topic of a channel": CH.t,
    "function": len,
    "realtime": REALTIME,
    "nan": float("nan"),
    "surrogate": "\ud800",
    "huge": 10**5_000,
    "huge fraction": 1e300,
}

LISTS = {"none", "list", "pair", "triple"}


def subscription(**arguments: Any) -> Any:
    return REALTIME.subscribe(**{"channel": "c", "topics": ["t"], **arguments})


def token(**arguments: Any) -> Any:
    return REALTIME.get_client_subscription_token(**{"channel": "c", "topics": ["t"], **arguments})


def grant(**arguments: Any) -> Any:
    given = {"channel": Pipeline, "authorize": allow_anyone, **arguments}
    return Grant(given.pop("channel"), **given)


def taker(kind: Callable[..., Any], name: str, **others: Any) -> Callable[[Any], Any]:
    return lambda value: kind(**{**others, name: value})


# Of each position: how it is given, and what of WRONG is right there.
POSITIONS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "publish topic": (lambda x: REALTIME.publish(x, "data"), {"topic of a channel", "pair"}),
    "publish_sync topic": (lambda x: REALTIME.publish_sync(x, "data"), {"topic of a channel", "pair"}),
    "publish_stream topic": (lambda x: REALTIME.publish_stream(x, ["a"]), {"topic of a channel", "pair"}),
    "publish channel of a pair": (lambda x: REALTIME.publish((x, "t"), "data"), {"text", "channel"}),
    "publish topic of a pair": (lambda x: REALTIME.publish(("c", x), "data"), {"text", "topic of the class"}),
    "publish typed data": (lambda x: REALTIME.publish(Pipeline(run_id="a").status, x), set()),
    "publish data": (
        lambda x: REALTIME.publish(("c", "t"), x),
        {"none", "number", "fraction", "flag", "text", "empty", "list", "dict", "pair", "triple", "huge fraction"},
    ),
    "publish run_id": (lambda x: REALTIME.publish(("c", "t"), 1, run_id=x), {"none"}),
    "publish metadata": (lambda x: REALTIME.publish(("c", "t"), 1, metadata=x), {"none", "dict"}),
    "publish id": (lambda x: REALTIME.publish(("c", "t"), 1, id=x), {"none", "text"}),
    "publish_stream chunks": (lambda x: REALTIME.publish_stream(("c", "t"), x), LISTS - {"none"} | {"dict"}),
    "publish_stream_sync chunks": (lambda x: REALTIME.publish_stream_sync(("c", "t"), x), LISTS - {"none"} | {"dict"}),
    "subscribe channel": (lambda x: subscription(channel=x), {"text", "channel"}),
    "subscribe topics": (lambda x: subscription(topics=x), LISTS - {"none"} | {"dict"}),
    "subscribe topics of a channel": (lambda x: subscription(channel=CH, topics=x), {"none"}),
    "subscribe one topic": (lambda x: subscription(topics=[x]), {"text", "topic of the class"}),
    "subscribe key": (lambda x: subscription(key=x), {"none", "text", "empty"}),
    "subscribe token": (lambda x: subscription(token=x), {"none"}),
    "subscribe api_base_url": (lambda x: subscription(api_base_url=x), {"none", "empty"}),
    "subscribe validate": (lambda x: subscription(validate=x), {"flag"}),
    "subscribe gaps": (lambda x: subscription(gaps=x), {"flag"}),
    "subscribe rewind": (lambda x: subscription(rewind=x), {"none", "number"}),
    "subscribe on_message": (lambda x: subscription(on_message=x), {"none", "function", "class", "other class"}),
    "subscribe on_error": (lambda x: subscription(on_error=x), {"none", "function", "class", "other class"}),
    "subscribe on_state": (lambda x: subscription(on_state=x), {"none", "function", "class", "other class"}),
    "subscribe app": (lambda x: subscribe(app=x, channel="c", topics=["t"]), {"none", "realtime"}),
    "subscribe_sync app": (lambda x: subscribe_sync(app=x, channel="c", topics=["t"]), {"none", "realtime"}),
    "subscribe_sync channel": (lambda x: REALTIME.subscribe_sync(channel=x, topics=["t"]), {"text", "channel"}),
    "token channel": (lambda x: token(channel=x), {"text", "channel"}),
    "token topics": (lambda x: token(topics=x), LISTS - {"none"} | {"dict"}),
    "token app": (lambda x: get_client_subscription_token(x, channel="c", topics=["t"]), {"none", "realtime"}),
    "token app sync": (
        lambda x: get_client_subscription_token_sync(x, channel="c", topics=["t"]),
        {"none", "realtime"},
    ),
    "Settings.resolve app": (lambda x: Settings.resolve(x), {"none", "realtime"}),
    "override": (lambda x: REALTIME.override(api_base_url=x).__enter__(), {"none", "empty"}),
    "channel class name": (
        lambda x: type("Declared", (Channel,), {}, name=x),  # type: ignore[call-overload]
        {"none", "text"},
    ),
    "channel parameter": (lambda x: Pipeline(run_id=x), set()),
    "from_strings": (lambda x: Pipeline.from_strings(x), set()),
    "from_strings value": (lambda x: Pipeline.from_strings({"run_id": x}), set()),
    "from_name": (lambda x: Pipeline.from_name(x), set()),
    "topic type": (
        lambda x: topic(x),
        {"none", "object", "class", "other class", "channel", "realtime", "topic of the class", "topic of a channel"}
        | {"function"},
    ),
    "topic name": (lambda x: topic(str, name=x), {"none", "text"}),
    "grant channel": (lambda x: grant(channel=x, topics=["status"], name="n"), {"class", "text"}),
    "grant topics": (lambda x: grant(topics=x), {"none"}),
    "grant authorize": (lambda x: grant(authorize=x), {"function", "class", "other class"}),
    "grant name": (lambda x: grant(name=x), {"none"}),
    "grant heartbeat": (lambda x: grant(heartbeat=x), {"none", "number", "fraction"}),
    "grant reauthorize_every": (lambda x: grant(reauthorize_every=x), {"none", "number", "fraction"}),
    "grant extra_parameters": (lambda x: grant(extra_parameters=x), {"list", "pair", "triple", "dict"}),
    "grant rewind": (lambda x: grant(rewind=x), {"none", "number"}),
    "grant render": (lambda x: grant(render=x), {"none", "function", "class", "other class"}),
    "grant token": (lambda x: grant(token=x), {"none"}),
    "grant may_overlap": (lambda x: grant(may_overlap=x), {"flag"}),
    **{
        f"Realtime {name}": (taker(Realtime, name), right)
        for name, right in {
            **{key: {"number", "fraction"} for key in ("ping_interval", "ping_timeout", "linger")},
            **{key: {"number"} for key in ("buffer_size", "buffer_bytes", "total_buffer_bytes")},
            "multiplex": {"flag"},
            "proxy": {"none"},
            "replay": {"none"},
        }.items()
    },
    **{
        f"endpoint {name}": (taker(EndpointOptions, name, client=len), right)
        for name, right in {
            **{key: {"number", "fraction"} for key in ("heartbeat", "rate_per_client")},
            **{key: {"none", "number", "fraction"} for key in ("authorize_timeout", "send_timeout")},
            **{key: {"number"} for key in ("burst_per_client", "max_body", "max_channel_length")},
            **{key: {"none", "number"} for key in ("max_streams", "max_streams_per_client")},
            "client": {"none", "function", "class", "other class"},
        }.items()
    },
    "Replay size": (taker(Replay, "size"), {"number"}),
    "Replay max_age": (taker(Replay, "max_age"), {"number", "fraction"}),
    "Replay max_bytes": (taker(Replay, "max_bytes"), {"number"}),
    "batch every": (lambda x: REALTIME.batch(CH.t, every=x), {"number", "fraction"}),
    "batch max_bytes": (lambda x: REALTIME.batch(CH.t, max_bytes=x), {"number"}),
}

OURS = (ConfigurationError, ChannelError, TopicError, PublishError)


async def call(give: Callable[[Any], Any], value: Any) -> None:
    result = await asyncio.to_thread(give, value)
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("position", POSITIONS)
async def test_wrong_kinds(position: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", NOWHERE)
    give, right = POSITIONS[position]
    for kind, value in WRONG.items():
        if kind not in right:
            with pytest.raises(RealtimeError) as caught:
                await call(give, value)
            assert isinstance(caught.value, OURS), (kind, caught.value)
            assert len(str(caught.value)) > 20, (kind, caught.value)
    await asyncio.to_thread(REALTIME.close_sync)
    await REALTIME.close()


async def test_a_class_is_no_stream() -> None:
    class Rows(BaseModel):
        rows: list[str]

    with pytest.raises(PublishError, match="not the class Rows"):
        await REALTIME.publish_stream(("c", "t"), Rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", POSITIONS)
async def test_right_kinds(position: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out above is right: it fails no sooner than at Inngest, which cannot be reached here."""
    monkeypatch.setenv("INNGEST_DEV", NOWHERE)
    give, right = POSITIONS[position]
    for kind in right:
        try:
            await call(give, WRONG[kind])
        except OURS as error:
            raise AssertionError(f"{kind} was refused: {error}") from error
        except RealtimeError:
            pass
    await asyncio.to_thread(REALTIME.close_sync)
    await REALTIME.close()


def generator(_: Any) -> Any:
    yield


async def async_generator(_: Any) -> Any:
    yield


async def async_function(_: Any) -> None: ...


@pytest.mark.parametrize("name", ["on_message", "on_error", "on_state", "render"])
def test_functions_that_a_call_does_not_run(name: str) -> None:
    """What was meant to happen would never happen, and nothing would tell."""
    make = grant if name == "render" else subscription
    for function in (generator, async_generator):
        with pytest.raises(ConfigurationError, match=f"{name}.* is a generator function, .*expected a function, def"):
            make(**{name: function})
    if name in ("on_state", "render"):
        with pytest.raises(ConfigurationError, match=f"{name}.* is an async function, which nothing awaits"):
            make(**{name: async_function})
