from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter
from websockets.asyncio.client import ClientConnection, connect

from inngest_realtime_core._api import publishing
from inngest_realtime_core._api.http import hash_signing_key
from inngest_realtime_core._api.tokens import mint
from inngest_realtime_core._concurrency.background import run_sync
from inngest_realtime_core.errors import (
    AuthenticationError,
    ChannelError,
    ConfigurationError,
    PublishError,
    RealtimeError,
    TopicError,
    UnexpectedResponseError,
    UnreachableError,
)
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_core.settings import Settings
from inngest_realtime_devserver.server import DevServer
from raw_server import http_answer, raw_server

KEY = "signkey-prod-0123456789abcdef"
OTHER_KEY = "signkey-prod-fedcba9876543210"
RUN = "01M8807FTFX86E9HWQYHXSS7PD"


class Status(BaseModel):
    message: str


def settings_for(url: str, **keywords: Any) -> Settings:
    return Settings.resolve(api_base_url=url, environ={}, **keywords)


class Unrecorded:
    """Keeps nothing of what is published."""

    async def publish(self, envelope: Envelope) -> None:
        pass

    async def withdraw(self, envelope: Envelope) -> None:
        pass


async def publish_async_form(settings: Settings, channel: str, topic: str, data: object, **keywords: Any) -> None:
    async with httpx.AsyncClient() as http:
        await publishing.publish(http, settings, channel, topic, data, recorder=Unrecorded(), **keywords)


async def publish_sync_form(settings: Settings, channel: str, topic: str, data: object, **keywords: Any) -> None:
    await anyio.to_thread.run_sync(
        lambda: run_sync(lambda: publish_async_form(settings, channel, topic, data, **keywords))
    )


async def stream_async_form(settings: Settings, channel: str, topic: str, chunks: Any, **keywords: Any) -> None:
    async with httpx.AsyncClient() as http:
        await publishing.publish_stream(http, settings, channel, topic, chunks, **keywords)


async def stream_sync_form(settings: Settings, channel: str, topic: str, chunks: Any, **keywords: Any) -> None:
    def call() -> None:
        realtime = Realtime(settings)
        try:
            realtime.publish_stream_sync((channel, topic), chunks, **keywords)
        finally:
            realtime.close_sync()

    await anyio.to_thread.run_sync(call)


Form = Callable[..., Awaitable[None]]


@pytest.fixture(params=[publish_async_form, publish_sync_form], ids=["async", "sync"])
def publish(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    return form


@pytest.fixture(params=[stream_async_form, stream_sync_form], ids=["async", "sync"])
def publish_stream(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    return form


@pytest.fixture
def channel() -> str:
    return f"channel:{uuid4()}"


@dataclass
class Listener:
    """A plain WebSocket client that is subscribed to topic `t` of one channel."""

    socket: ClientConnection

    async def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 10))
        return frame

    async def stream(self) -> list[str]:
        """The chunks of the next data stream, up to its end."""
        start = await self.frame()
        assert start["kind"] == "datastream-start"
        chunks: list[str] = []
        while (frame := await self.frame())["kind"] == "chunk":
            chunks.append(frame["data"])
        assert (frame["kind"], frame["data"]) == ("datastream-end", start["data"])
        return chunks


@contextlib.asynccontextmanager
async def listening(settings: Settings, channel: str) -> AsyncIterator[Listener]:
    async with httpx.AsyncClient() as http:
        token = await mint(http, settings, [(channel, "t")])
    async with connect(f"{settings.websocket_url}?token={token}", max_size=None) as websocket:
        await (await websocket.ping())  # the pong proves the subscription
        yield Listener(websocket)


class TestRequest:
    def test_is_what_the_protocol_says(self) -> None:
        query = publishing.publish_query("c:1&ü", "t+t", run_id=RUN, metadata={"k": "v w"})
        request = publishing.publish_request(settings_for("http://a:1/x", env="branch"), query, b"{}")
        parts = urlsplit(request.url)
        assert (request.method, request.endpoint) == ("POST", "http://a:1/x/v1/realtime/publish")
        assert parse_qs(parts.query, strict_parsing=True) == {
            "channel": ["c:1&ü"],
            "topic": ["t+t"],
            "run_id": [RUN],
            "metadata": ['{"k":"v w"}'],
        }
        assert (request.headers["content-type"], request.headers["x-inngest-env"]) == ("application/json", "branch")

    @given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(min_size=1).filter(str.isprintable))
    def test_names_make_the_round_trip(self, channel: str, topic: str) -> None:
        names = publishing.publish_query(channel, topic)
        request = publishing.publish_request(settings_for("http://a:1"), names, b"")
        query = parse_qs(urlsplit(str(httpx.URL(request.url))).query, keep_blank_values=True, strict_parsing=True)
        assert query == {"channel": [channel], "topic": [topic]}

    @pytest.mark.parametrize(
        ("channel", "topic", "keywords", "error", "says"),
        [
            ("", "t", {}, ChannelError, "empty"),
            ("\ud800", "t", {}, ChannelError, "lone surrogate"),
            ("c", "", {}, TopicError, "empty"),
            ("c", "a\n", {}, TopicError, "not printable"),
            ("c", "t", {"run_id": ""}, PublishError, "not a ULID"),
            ("c", "t", {"run_id": RUN[:-1]}, PublishError, "not a ULID"),
            ("c", "t", {"run_id": RUN + "0"}, PublishError, "not a ULID"),
            ("c", "t", {"run_id": "8" + RUN[1:]}, PublishError, "not a ULID"),
            ("c", "t", {"run_id": RUN[:-1] + "U"}, PublishError, "not a ULID"),
            ("c", "t", {"run_id": RUN + "\n"}, PublishError, "not a ULID"),
            ("c", "t", {"metadata": [1]}, PublishError, "metadata must be a mapping"),
            ("c", "t", {"metadata": {"a": "x" * 70_000}}, PublishError, "65,536 can be sent"),
            ("c", "t", {"metadata": {"inngest-realtime": {}}}, PublishError, "reserved"),
            ("c", "t", {"id": ""}, PublishError, "1 to 200 characters"),
            ("c", "t", {"id": "x" * 201}, PublishError, "1 to 200 characters"),
            ("c", "t", {"id": 7}, PublishError, "1 to 200 characters"),
        ],
    )
    async def test_what_inngest_would_lose_is_refused(
        self, channel: str, topic: str, keywords: dict[str, Any], error: type[RealtimeError], says: str, publish: Form
    ) -> None:
        with pytest.raises(error, match=says):
            await publish(settings_for("http://127.0.0.1:9"), channel, topic, {}, **keywords)

    def test_a_ulid_in_lower_case_is_one(self) -> None:
        assert publishing.publish_query("c", "t", run_id=RUN.lower())["run_id"] == RUN.lower()


class TestPublishing:
    async def test_a_message_arrives_as_it_was_given(self, publish: Form, channel: str) -> None:
        async with DevServer(signing_key=KEY) as server:
            settings = settings_for(server.url, signing_key=KEY)
            async with listening(settings, channel) as listener:
                await publish(settings, channel, "t", {"x": [1, "é", None]}, run_id=RUN, metadata={"k": "v"})
                frame = await listener.frame()
        assert (frame["kind"], frame["channel"], frame["topic"]) == ("data", channel, "t")
        assert (frame["data"], frame["run_id"]) == ({"x": [1, "é", None]}, RUN)
        assert frame["metadata"].pop("inngest-realtime").keys() == {"id"}
        assert frame["metadata"] == {"k": "v"}

    async def test_each_message_has_an_id(self, publish: Form, channel: str) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                for keywords in ({}, {}, {"id": "my-own"}):
                    await publish(settings, channel, "t", 1, **keywords)
                ids = [(await listener.frame())["metadata"]["inngest-realtime"]["id"] for _ in range(3)]
        assert len(set(ids)) == 3
        assert ids[2] == "my-own"

    async def test_data_of_a_type(self, publish: Form, channel: str) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                await publish(settings, channel, "t", Status(message="m"), adapter=TypeAdapter(Status))
                assert (await listener.frame())["data"] == {"message": "m"}
                with pytest.raises(PublishError, match="does not fit"):
                    await publish(settings, channel, "t", {}, adapter=TypeAdapter(Status))
            assert server.stats().publishes == 1

    async def test_the_largest_message_arrives_whole(self, publish: Form, channel: str) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                await publish(settings, channel, "t", "x" * 524_286)
                assert (await listener.frame())["data"] == "x" * 524_286
                with pytest.raises(PublishError, match="512 KiB"):
                    await publish(settings, channel, "t", "x" * 524_287)
            assert server.stats().publishes == 1

    async def test_the_fallback_key(self, publish: Form, channel: str) -> None:
        async with DevServer(signing_key=KEY) as server:
            await publish(
                settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback=KEY), channel, "t", "once"
            )
            assert server.stats().publishes == 1
            with pytest.raises(AuthenticationError, match="Publishing failed"):
                await publish(settings_for(server.url, signing_key=OTHER_KEY), channel, "t", "never")

    async def test_the_cloud_needs_a_key(self, publish: Form) -> None:
        with pytest.raises(ConfigurationError, match="INNGEST_SIGNING_KEY"):
            await publish(Settings.resolve(environ={}), "c", "t", {})

    async def test_wrong_answers(self, publish: Form) -> None:
        async with DevServer() as server:
            with pytest.raises(UnexpectedResponseError, match="The path is wrong") as caught:
                await publish(settings_for(f"{server.url}/wrong"), "c-private", "t", {}, metadata={"private": 1})
        assert caught.value.url == f"{server.url}/wrong/v1/realtime/publish"
        assert "private" not in str(caught.value)
        with raw_server(http_answer("500 Oops", connection="close")) as raw, pytest.raises(UnexpectedResponseError):
            await publish(settings_for(raw.url), "c", "t", {})
        with pytest.raises(UnreachableError, match="no connection"):
            await publish(settings_for(raw.url), "c", "t", {})

    async def test_no_key_is_shown(self, publish: Form, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        async with DevServer(signing_key=KEY) as server:
            await publish(settings_for(server.url, signing_key=KEY), "c", "t", {})
            with pytest.raises(AuthenticationError) as caught:
                await publish(settings_for(server.url, signing_key=OTHER_KEY), "c", "t", {})
        everything = "".join(traceback.format_exception(caught.value)) + caplog.text
        for key in (KEY, OTHER_KEY):
            assert key not in everything
            assert key.rpartition("-")[2] not in everything
            assert hash_signing_key(key) not in everything


@contextlib.contextmanager
def closed_at_the_end(parts: Iterable[str], failure: Exception | None = None) -> Iterator[Iterator[str]]:
    """A generator of `parts` that then raises; the block's end checks that it was closed."""
    closed = threading.Event()

    def generate() -> Iterator[str]:
        try:
            yield from parts
            if failure is not None:
                raise failure
        finally:
            closed.set()

    yield generate()
    assert closed.is_set()


class TestStreaming:
    async def test_a_text_arrives_in_its_parts(self, publish_stream: Form, channel: str) -> None:
        parts = ["Hello ", "", "wörld", "!", "語" * 1000]
        async with DevServer(signing_key=KEY) as server:
            settings = settings_for(server.url, signing_key=KEY)
            async with listening(settings, channel) as listener:
                with closed_at_the_end(parts) as source:
                    await publish_stream(settings, channel, "t", source, run_id=RUN, metadata={"k": 1})
                chunks = await listener.stream()
        assert "".join(chunks) == "".join(parts)
        assert all(len(chunk.encode()) <= 1024 for chunk in chunks)

    async def test_parts_arrive_while_the_text_comes_into_being(self, channel: str) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                seen: asyncio.Queue[str] = asyncio.Queue()

                async def answer_each_part() -> AsyncIterator[str]:
                    for part in ("one ", "two ", "three"):
                        yield part
                        assert await asyncio.wait_for(seen.get(), 5) == part

                publishing_task = asyncio.create_task(stream_async_form(settings, channel, "t", answer_each_part()))
                assert (await listener.frame())["kind"] == "datastream-start"
                for _ in range(3):
                    seen.put_nowait((await listener.frame())["data"])
                assert (await listener.frame())["kind"] == "datastream-end"
                await publishing_task

    @pytest.mark.parametrize("parts", [["語"] * 2000, ["日本語テキスト" * 40] * 30, ["ascii " * 100] * 200])
    async def test_no_character_is_cut(self, parts: list[str], publish_stream: Form, channel: str) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                # A server that a busy machine keeps from reading may cut one (see chunks.py), but not every time.
                for _ in range(3):
                    publishing_task = asyncio.ensure_future(publish_stream(settings, channel, "t", parts))
                    arrived = "".join(await listener.stream())
                    await publishing_task
                    if arrived == "".join(parts):
                        break
        assert arrived == "".join(parts)

    async def test_a_piece_that_leaves_late_is_given_its_time_as_well(
        self, publish_stream: Form, monkeypatch: pytest.MonkeyPatch, channel: str
    ) -> None:
        """On a busy machine a wait takes longer than it was to take."""
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await asyncio.sleep(seconds and seconds + 0.03)

        monkeypatch.setattr(publishing, "sleep", sleep)
        async with DevServer() as server:
            await publish_stream(settings_for(server.url), channel, "t", ["é" * 512] * 9)
        assert sum(wait > 0 for wait in waits) > 5  # all but the first; else every second one

    async def test_each_piece_is_one_http_chunk(self, publish_stream: Form) -> None:
        with raw_server(
            http_answer("201 Created", b'{"jwt":"x"}', connection="close"), http_answer("200 OK", connection="close")
        ) as server:
            await publish_stream(settings_for(server.url, signing_key=KEY), "c", "t", ["ab", "é" * 600])
        head, _, body = server.requests[1].partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert b"content-type: text/stream" in lines
        assert b"authorization: bearer " + hash_signing_key(KEY).encode() in lines
        assert body == (
            b"2\r\nab\r\n"
            + b"400\r\n"
            + "é".encode() * 512
            + b"\r\n"
            + b"b0\r\n"
            + "é".encode() * 88
            + b"\r\n0\r\n\r\n"
        )

    async def test_a_list_that_is_too_long_is_refused_before_anything_is_sent(
        self, publish_stream: Form, channel: str
    ) -> None:
        async with DevServer() as server:
            with pytest.raises(PublishError, match=r"1,000 pieces.*Nothing was sent"):
                await publish_stream(settings_for(server.url), channel, "t", ["x" * 1024] * 1000 + ["y"])
            assert server.stats().token_requests == server.stats().publishes == 0

    async def test_a_source_that_goes_on_too_long_ends_the_stream_with_an_error(
        self, publish_stream: Form, channel: str
    ) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                collecting = asyncio.create_task(listener.stream())
                with (
                    closed_at_the_end("x" * 1024 for _ in range(2000)) as source,
                    pytest.raises(PublishError, match="1,024,000 bytes of it were sent"),
                ):
                    await publish_stream(settings, channel, "t", source)
                # How the pieces arrive, and so where the chunks are cut, is up to the two machines' TCP.
                chunks = await collecting
                assert set("".join(chunks)) <= {"x"}
                assert len("".join(chunks)) <= 1_024_000
                assert all(len(chunk) <= 1024 for chunk in chunks)

    @pytest.mark.parametrize("failure", [KeyError("source"), httpx.ReadError("source"), TimeoutError("source")])
    async def test_what_the_source_raises_comes_out_and_the_stream_ends(
        self, failure: Exception, publish_stream: Form, channel: str
    ) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                with closed_at_the_end(["one"], failure) as source, pytest.raises(type(failure)) as caught:
                    await publish_stream(settings, channel, "t", source)
                assert caught.value is failure
                assert await listener.stream() in (["one"], [])

    async def test_an_async_source_that_raises(self, channel: str) -> None:
        closed = asyncio.Event()

        async def source() -> AsyncIterator[str]:
            try:
                yield "one"
                raise KeyError("source")
            finally:
                closed.set()

        async with DevServer() as server:
            with pytest.raises(KeyError, match="source"):
                await stream_async_form(settings_for(server.url), channel, "t", source())
        assert closed.is_set()

    async def test_cancelling_ends_the_stream_and_closes_the_source(self, channel: str) -> None:
        closed = asyncio.Event()

        async def source() -> AsyncIterator[str]:
            try:
                yield "one"
                await asyncio.Event().wait()
            finally:
                closed.set()

        async with DevServer() as server:
            settings = settings_for(server.url)
            async with listening(settings, channel) as listener:
                task = asyncio.create_task(stream_async_form(settings, channel, "t", source()))
                assert (await listener.frame())["kind"] == "datastream-start"
                assert (await listener.frame())["data"] == "one"
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert closed.is_set()
                assert (await listener.frame())["kind"] == "datastream-end"

    @pytest.mark.parametrize("chunks", ["text", b"bytes", 7, None])
    async def test_what_is_no_source(self, chunks: Any, publish_stream: Form) -> None:
        with pytest.raises(PublishError, match="chunks must be an iterable of str"):
            await publish_stream(settings_for("http://127.0.0.1:9"), "c", "t", chunks)

    async def test_parts_that_are_no_text(self, publish_stream: Form, channel: str) -> None:
        async with DevServer() as server:
            settings = settings_for(server.url)
            for chunks, says in (([b"x"], "bytes"), (iter([7]), "int"), (["\ud83d", "\ude00"], "lone surrogate")):
                with pytest.raises(PublishError, match=says):
                    await publish_stream(settings, channel, "t", chunks)

    async def test_the_sync_form_takes_and_closes_its_source_in_the_calling_thread(self, channel: str) -> None:
        threads: list[int] = []

        def source() -> Iterator[str]:
            try:
                for part in ("one ", "two"):
                    threads.append(threading.get_ident())
                    yield part
            finally:
                threads.append(threading.get_ident())

        def call(settings: Settings) -> int:
            realtime = Realtime(settings)
            realtime.publish_stream_sync((channel, "t"), source())
            with pytest.raises(AuthenticationError):  # nothing is taken of it
                Realtime(settings_for(server.url, signing_key=OTHER_KEY)).publish_stream_sync((channel, "t"), source())
            realtime.close_sync()
            return threading.get_ident()

        async with DevServer(signing_key=KEY) as server:
            thread = await anyio.to_thread.run_sync(call, settings_for(server.url, signing_key=KEY))
        assert threads == [thread] * 3

    async def test_the_sync_form_takes_no_async_source(self) -> None:
        async def source() -> AsyncIterator[str]:
            yield "x"

        with pytest.raises(PublishError, match="publish_stream"):
            await stream_sync_form(settings_for("http://127.0.0.1:9"), "c", "t", source())


class TestTheSourceIsNotWasted:
    """A text can be read only once, so nothing is taken from it before Inngest is known to accept it."""

    async def test_with_the_fallback_key(self, publish_stream: Form, channel: str) -> None:
        async with DevServer(signing_key=KEY) as server:
            settings = settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback=KEY)
            async with listening(settings, channel) as listener:
                await publish_stream(settings, channel, "t", iter(["one", "two"]))
                assert "".join(await listener.stream()) == "onetwo"

    @pytest.mark.parametrize(
        ("keywords", "path", "error"),
        [
            ({"signing_key": OTHER_KEY}, "", AuthenticationError),
            ({"signing_key": KEY}, "/wrong", UnexpectedResponseError),
        ],
    )
    async def test_when_it_is_refused(
        self, keywords: Mapping[str, Any], path: str, error: type[RealtimeError], publish_stream: Form, channel: str
    ) -> None:
        source = iter(["one"])
        async with DevServer(signing_key=KEY) as server:
            with pytest.raises(error, match="Publishing failed"):
                await publish_stream(settings_for(server.url + path, **keywords), channel, "t", source)
        assert next(source) == "one"

    async def test_when_nothing_listens(self, publish_stream: Form, channel: str) -> None:
        source = iter(["one"])
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(UnreachableError):
                await publish_stream(settings_for(f"http://127.0.0.1:{taken.getsockname()[1]}"), channel, "t", source)
        assert next(source) == "one"

    async def test_a_server_that_goes_away_in_the_middle(self, publish_stream: Form) -> None:
        def vanish(connection: socket.socket) -> None:
            connection.close()

        token = http_answer("201 Created", b'{"jwt":"x"}', connection="close")
        with (
            raw_server(token, vanish) as server,
            closed_at_the_end(["x" * 1024] * 10) as source,
            pytest.raises(UnreachableError),
        ):
            await publish_stream(settings_for(server.url), "c", "t", source)


async def test_a_slow_source_may_take_longer_than_a_call(monkeypatch: pytest.MonkeyPatch, channel: str) -> None:
    monkeypatch.setattr("inngest_realtime_core._api.http.TIMEOUT", 0.2)

    def source() -> Iterator[str]:
        yield "one"
        time.sleep(0.4)  # what a model's first token may take
        yield "two"

    async with DevServer() as server:
        settings = settings_for(server.url)
        async with listening(settings, channel) as listener:
            collecting = asyncio.create_task(listener.stream())
            await stream_sync_form(settings, channel, "t", source())
            assert "".join(await collecting) == "onetwo"
