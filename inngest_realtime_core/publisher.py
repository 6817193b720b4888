"""The publishing methods of `Realtime`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

import httpx

from ._api import publishing
from ._api.runs import run_id_or_current
from ._concurrency.background import run_sync, run_sync_with
from ._replay.log import History
from ._telemetry.observation import Operation
from .channels.channel import Channel
from .channels.target import DataOf, Target, TypedTarget, resolve_target
from .errors import PublishError
from .settings import Settings

T = TypeVar("T")


class Publisher(ABC):
    """Publishes messages and data streams."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """Where Inngest is and how to sign."""

    @abstractmethod
    def operation(self, name: str, **attributes: str) -> Operation:
        """Counts what is done in its block, and tells observers of it."""

    @abstractmethod
    def _http(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """An HTTP client of the running event loop."""

    @abstractmethod
    def _history(self) -> History:
        """What keeps messages on the running event loop."""

    async def publish(
        self,
        topic: TypedTarget[T] | tuple[Channel | str, str],
        data: DataOf[T],
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None:
        """Publish a message. What Inngest would lose or change silently is refused before it is sent.

        Args:
            topic: A topic of a channel (`channel.status`), or a pair of a channel and a topic or its name. The data is
                validated where the topic has a type.
            data: What the topic's type says, or any data that has a JSON form; at most 512 KiB of JSON.
            run_id: The function run's id, a ULID; with `RealtimeMiddleware` that of the run it is called in.
            metadata: A JSON object that goes along.
            id: Identifies the message, at most 200 characters; None makes one. What is published to a topic with the
                same id again, by a retry for instance, reaches the subscribers of this package once.

        Raises:
            PublishError: The data does not fit the topic, has no JSON form, or is too large.
            ChannelError, TopicError: The channel or the topic is not acceptable.
            InngestError: Inngest refused, did not respond, or responded with something else.
        """
        target = resolve_target(topic)
        with self.operation("publish", channel=target.channel, topic=target.topic):
            async with self._http() as http:
                await publishing.publish(
                    http,
                    self.settings,
                    target.channel,
                    target.topic,
                    data,
                    adapter=target.adapter,
                    run_id=run_id_or_current(run_id),
                    metadata=metadata,
                    id=id,
                    recorder=self._history(),
                )

    def publish_sync(
        self,
        topic: TypedTarget[T] | tuple[Channel | str, str],
        data: DataOf[T],
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None:
        """The sync twin of `publish`. It blocks."""
        run_sync(lambda: self.publish(topic, data, run_id=run_id, metadata=metadata, id=id))

    async def publish_stream(
        self,
        topic: Target,
        chunks: Iterable[str] | AsyncIterable[str],
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish a text as a data stream while it comes into being; no character is cut.

        What `chunks` raises comes out as it is, after what came before it was sent. Subscribers see the stream end as
        if it were complete, since Inngest sends the same end for a request that was cut off: where that matters, let
        the text or another message say that it is complete.

        Args:
            topic: A topic of a channel, or a pair of a channel and a topic or its name.
            chunks: The parts of the text; at most 1,000 pieces of 1,024 bytes are sent.

        Raises:
            PublishError: The text is too long, or a part is not a text.
            ChannelError, TopicError: The channel or the topic is not acceptable.
            InngestError: Inngest refused, did not respond, or responded with something else.
        """
        target = resolve_target(topic)
        with self.operation("publish_stream", channel=target.channel, topic=target.topic):
            self._history().publish_unidentified(target.channel)
            async with self._http() as http:
                await publishing.publish_stream(
                    http,
                    self.settings,
                    target.channel,
                    target.topic,
                    chunks,
                    run_id=run_id_or_current(run_id),
                    metadata=metadata,
                )

    def publish_stream_sync(
        self,
        topic: Target,
        chunks: Iterable[str],
        *,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """The sync twin of `publish_stream`. It blocks, and takes `chunks` in the calling thread."""
        if isinstance(chunks, AsyncIterable):
            raise PublishError("An asynchronous iterable needs publish_stream(); the sync form takes ordinary ones.")
        if isinstance(chunks, Sequence) or not hasattr(chunks, "__iter__"):  # looked at as a whole before it is sent
            run_sync(lambda: self.publish_stream(topic, chunks, run_id=run_id, metadata=metadata))
            return
        try:
            run_sync_with(lambda parts: self.publish_stream(topic, parts, run_id=run_id, metadata=metadata), chunks)
        finally:
            if isinstance(chunks, Generator):
                cast("Generator[str]", chunks).close()
