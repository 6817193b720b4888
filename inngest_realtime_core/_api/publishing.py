"""Publishing messages and data streams to a topic of a channel.

Inngest accepts what it then truncates or loses (see `payload` and `chunks`), so everything is checked before it is
sent. Protocol: `POST /v1/realtime/publish?channel=&topic=[&run_id=][&metadata=]`; the response is a 200 without
content.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime, timezone
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

import httpx
import msgspec
from pydantic import TypeAdapter

from .._concurrency.tasks import sleep
from ..arguments import describe
from ..channels.template import check_channel_name
from ..channels.topic import check_topic_name
from ..errors import AuthenticationError, ConfigurationError, PublishError, RealtimeError
from ..messages.envelope import Envelope
from ..settings import Settings
from .chunks import Splitter, Throttle
from .errors_from_status import check_response
from .http import HttpRequest, base_headers, send, send_signed, sign
from .ids import check_id, new_id, usable_run_id
from .payload import encode_metadata, encode_payload
from .tokens import build_token_request

_ACTION = "Publishing"
_MAX_URL = 65_536  # characters; what httpx takes


class Recorder(Protocol):
    """Keeps what is published, for those who subscribe afterwards."""

    async def publish(self, envelope: Envelope) -> Sequence[int] | None:
        """Called before a message is sent; returns its number, if it has one, to be sent along in its metadata."""

    async def withdraw(self, envelope: Envelope) -> None:
        """Called when Inngest has rejected it."""


def publish_query(
    channel: str,
    topic: str,
    *,
    run_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    id: str | None = None,
    seq: Sequence[int] | None = None,
) -> Mapping[str, str]:
    """The query of a request that publishes.

    Args:
        id: The message's id, which is sent in its metadata; None sends none.
        seq: Its number, which is sent with the id.

    Raises:
        ChannelError, TopicError: The name is empty or cannot be sent.
        PublishError: `id` is empty or too long, `run_id` is not a ULID, `metadata` is not a JSON object, or the
            names and metadata are too long.
    """
    query = {"channel": check_channel_name(channel), "topic": check_topic_name(topic)}
    if run_id is not None:
        if usable_run_id(run_id) is None:
            raise PublishError("run_id is not a ULID of 26 characters, so Inngest would drop it. Pass ctx.run_id.")
        query["run_id"] = run_id
    if metadata is not None or id is not None:
        query["metadata"] = encode_metadata(metadata, id=None if id is None else check_id(id), seq=seq)
    _url("", query)
    return query


def publish_request(
    settings: Settings,
    query: Mapping[str, str],
    content: bytes | AsyncIterable[bytes],
    content_type: str = "application/json",
) -> HttpRequest:
    """The request that publishes `content`, not signed yet. `PublishError` when its URL is too long."""
    return HttpRequest("POST", _url(settings.url("publish"), query), base_headers(settings, content_type), content)


def _url(address: str, query: Mapping[str, str]) -> str:
    url = f"{address}?{urlencode(query, quote_via=quote)}"
    if len(url) > _MAX_URL:
        raise PublishError(
            f"The names and the metadata make a URL of {len(url):,} characters; {_MAX_URL:,} can be sent. "
            "Put what is long into the data."
        )
    return url


async def publish(
    http: httpx.AsyncClient,
    settings: Settings,
    channel: str,
    topic: str,
    data: object,
    *,
    adapter: TypeAdapter[Any] | None = None,
    run_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    id: str | None = None,
    recorder: Recorder,
) -> None:
    """Publish one message.

    Args:
        recorder: Records the message before it is sent, for those who subscribe afterwards.
        id: Identifies the message: subscribers of this package get one of several with the same id. None makes one.
        adapter: The topic's type, which `data` has to fit; None sends any data that has a JSON form.
        run_id: The ULID of the run to which the message belongs.
        metadata: A JSON object sent along with the message.

    Raises:
        ChannelError, TopicError, PublishError: Refused before sending: see `encode_payload`, `publish_query`.
        ConfigurationError: There is no signing key for Inngest's cloud, or it is malformed.
        AuthenticationError: Inngest refused the signing key, and the fallback key if there is one.
        UnreachableError: No response within 10 seconds; the message may have been delivered all the same.
        UnexpectedResponseError: Any other response.
    """
    content = encode_payload(data, adapter)
    id = new_id() if id is None else id
    query = publish_query(channel, topic, run_id=run_id, metadata=metadata, id=id)
    request = publish_request(settings, query, content)
    envelope = _envelope(query, content)
    seq = await recorder.publish(envelope)
    try:
        if seq is not None:
            query = publish_query(channel, topic, run_id=run_id, metadata=metadata, id=id, seq=seq)
            request = publish_request(settings, query, content)
        check_response(*await send_signed(http, settings, request), action=_ACTION)
    except RealtimeError as error:
        if _is_rejected(error):
            await recorder.withdraw(envelope)
        raise


def _envelope(query: Mapping[str, str], content: bytes) -> Envelope:
    """The message as subscribers will receive it, as far as that is known here."""
    envelope = Envelope(
        "data",
        msgspec.Raw(content),
        query["channel"],
        query["topic"],
        created_at=datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
        run_id=query.get("run_id"),
        metadata=msgspec.Raw(query["metadata"].encode()),
    )
    envelope.weigh(len(envelope.data) + len(envelope.metadata))
    return envelope


def _is_rejected(error: RealtimeError) -> bool:
    """Whether the message was certainly not published: Inngest said so, or it was never connected to."""
    cause = error.__cause__
    if isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        return True
    status = getattr(error, "status", None)
    return isinstance(error, (AuthenticationError, ConfigurationError, PublishError)) or 0 < (status or 0) < 500


async def publish_stream(
    http: httpx.AsyncClient,
    settings: Settings,
    channel: str,
    topic: str,
    chunks: Iterable[str] | AsyncIterable[str],
    *,
    run_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Publish a text as a data stream while it comes into being.

    Subscribers get the text in pieces of at most 1,024 bytes, between a start and an end. At most 1,000 pieces are
    sent; from the 500th on, small parts of the text are joined. Before the first part is taken from `chunks`, a token
    request finds out whether Inngest can be reached and which key it accepts: a text can be read only once.

    Args:
        chunks: Parts of the text. An iterable that is not asynchronous blocks the event loop while it produces one.
            Generators are closed at the end, whatever happens.

    Raises:
        PublishError: The text is too long, or a part is not a str. Found out before anything is sent when `chunks` is
            a list or tuple; else the stream ends there, and the message says how much was sent.
        Exception: Whatever `chunks` raises; the stream ends there.
        ChannelError, TopicError, ConfigurationError, AuthenticationError, UnreachableError, UnexpectedResponseError:
            As `publish` does, the time limit being one for each read and write.
    """
    text = _Text(chunks)
    try:
        async with aclosing(text.pieces()) as pieces:
            query = publish_query(channel, topic, run_id=run_id, metadata=metadata)
            request = publish_request(settings, query, pieces, "text/stream")
            probe, response = await send_signed(http, settings, build_token_request(settings, []))
            check_response(probe, response, action=_ACTION)
            request = sign(request, _authorization(probe))
            with text.failures():
                response = await send(http, request, timeout=None)
        check_response(request, response, action=_ACTION)
    finally:
        if isinstance(chunks, AsyncGenerator):
            await cast("AsyncGenerator[str, None]", chunks).aclose()
        elif isinstance(chunks, Generator):
            cast("Generator[str]", chunks).close()


def _authorization(request: HttpRequest) -> Mapping[str, str]:
    return {name: value for name, value in request.headers.items() if name == "authorization"}


class _Text:
    """The body of a stream's request, made from the parts of a text."""

    def __init__(self, chunks: Iterable[str] | AsyncIterable[str]) -> None:
        if isinstance(chunks, (str, bytes)):
            raise PublishError("chunks must be an iterable of str. For one text use [text].")
        if isinstance(chunks, type) or not (hasattr(chunks, "__iter__") or hasattr(chunks, "__aiter__")):
            raise PublishError(f"chunks must be an iterable of str, not {describe(chunks)}.")
        if isinstance(chunks, Sequence):
            trial = Splitter(trial=True)
            for part in chunks:
                trial.feed(part)
            trial.finish()
        self._chunks = chunks
        self._splitter = Splitter()
        self._throttle = Throttle()
        # The HTTP client cannot tell a failure of the source from one of its own: the source may well use httpx, too.
        self._failure: Exception | None = None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            async for part in _asynchronous(self._chunks):
                for piece in self._splitter.feed(part):
                    await sleep(self._throttle.delay(piece, time.monotonic()))
                    yield piece
                    self._throttle.sent(time.monotonic())
            for piece in self._splitter.finish():
                await sleep(self._throttle.delay(piece, time.monotonic()))
                yield piece
        except Exception as error:
            # The application's own: `failures()` raises it as it was.
            self._failure = error
            raise

    @contextmanager
    def failures(self) -> Generator[None]:
        """Raises what the source raised as it was, in place of what the HTTP client made of it."""
        try:
            yield
        except Exception as error:
            # The source may have raised anything, and the HTTP client makes an error of its own of it.
            failure = self._failure or error
        else:
            return
        raise failure


async def _asynchronous(chunks: Iterable[str] | AsyncIterable[str]) -> AsyncGenerator[str, None]:
    if isinstance(chunks, AsyncIterable):
        async for part in chunks:
            yield part
    else:
        for part in chunks:
            yield part
