"""The publishing methods of `Realtime`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast, overload

from ._api import publishing
from ._api.batch import B, Batch, SyncBatch
from ._api.ids import new_id, run_id_or_current
from ._api.steps import PublishStep, StepContext, no_retry
from ._concurrency.background import run_sync, run_sync_with
from .base import RealtimeBase
from .channels.channel import Channel
from .channels.resolve import DataOf, Target, TypedTarget, resolve_target
from .errors import PublishError

T = TypeVar("T")


class Publisher(RealtimeBase):
    """Publishes messages, data streams, steps and batches."""

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

    @overload
    async def publish_step(
        self,
        ctx: StepContext[Awaitable[Any]],
        id: str,
        topic: TypedTarget[T],
        data: DataOf[T],
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> T: ...
    @overload
    async def publish_step(
        self,
        ctx: StepContext[Awaitable[Any]],
        id: str,
        topic: tuple[Channel | str, str],
        data: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any: ...
    async def publish_step(
        self,
        ctx: StepContext[Awaitable[Any]],
        id: str,
        topic: Target,
        data: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Publish a message as a step of an Inngest function, once for each run.

        Subscribers of this package get it once even when the step is run again because its result did not reach
        Inngest, for as long as the channel's history remembers it; others may then get it twice.

        Args:
            ctx: The function's `inngest.Context`.
            id: The step's id. Steps of one function may share an id, as Inngest's own steps may.
            topic: A topic of a channel (`channel.status`), or a pair of a channel and a topic's name.
            data: What the topic's type says; at most 512 KiB of JSON. It is the step's output on Inngest's dashboard.
            metadata: A JSON object that goes along.

        Returns:
            The data that was published, as a subscriber of the topic gets it: the same in each attempt, whatever
            `data` is then. Where the topic's type does not read the JSON that it makes, `data`; or the JSON, if `data`
            is not what was published.

        Raises:
            NonRetriableError: `inngest`'s own, which ends the run: an argument or the configuration is not acceptable
                (the cause says which), and no further attempt would change that.
            StepError: `inngest`'s own: all attempts to reach Inngest Realtime have failed.
        """
        step = PublishStep(ctx, id, topic, data, metadata, asynchronous=True)

        async def send() -> Any:
            with no_retry():
                output = step.output()
                await self.publish(step.target, output, **step.options)
                return output

        return step.result(await ctx.step.run(id, send))

    @overload
    def publish_step_sync(
        self,
        ctx: StepContext[Any],
        id: str,
        topic: TypedTarget[T],
        data: DataOf[T],
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> T: ...
    @overload
    def publish_step_sync(
        self,
        ctx: StepContext[Any],
        id: str,
        topic: tuple[Channel | str, str],
        data: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any: ...
    def publish_step_sync(
        self,
        ctx: StepContext[Any],
        id: str,
        topic: Target,
        data: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """`publish_step` for functions that are not async. `ctx` is an `inngest.ContextSync`."""
        step = PublishStep(ctx, id, topic, data, metadata, asynchronous=False)

        def send() -> Any:
            with no_retry():
                output = step.output()
                self.publish_sync(step.target, output, **step.options)
                return output

        return step.result(ctx.step.run(id, send))

    def batch(
        self,
        topic: TypedTarget[B] | tuple[Channel | str, str],
        *,
        every: float = 0.05,
        max_bytes: int = 65_536,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Batch[B]:
        """Publish many small parts of a text, or of a list, in few messages: enter it with `async with`.

        Texts are joined in order, lists are extended. A message is sent at most `every` seconds after its first part,
        when it has `max_bytes`, and at the end of the block, also when that ends by an error. One request is under way
        at a time; what comes meanwhile goes into the next.

        Args:
            topic: A topic whose type is `str` or a list.
            every: Seconds that a part waits for others at most.
            max_bytes: The size of a message as JSON, in bytes, at most 512 KiB; a larger part goes alone.
            run_id: As in `publish()`.
            metadata: As in `publish()`, for each message.

        Raises:
            TopicError: The topic's type is neither `str` nor a list.
            ConfigurationError: `every` or `max_bytes` is out of range.
            ChannelError: The channel is not acceptable.
            PublishError: `run_id` or `metadata` is not acceptable.
        """
        target = resolve_target(topic)
        run_id = run_id_or_current(run_id)
        publishing.publish_query(target.channel, target.topic, run_id=run_id, metadata=metadata, id=new_id())

        def publish(data: Any) -> Coroutine[Any, Any, None]:
            # A text has to fit the topic's type as a whole. The elements of a list have been encoded as that type
            # says, and what is encoded is not encoded once more.
            where: Any = topic if isinstance(data, str) else (target.channel, target.topic)
            return self.publish(where, data, run_id=run_id, metadata=metadata)

        return Batch(publish, target.topic, target.adapter, every=every, max_bytes=max_bytes)

    def batch_sync(
        self,
        topic: TypedTarget[B] | tuple[Channel | str, str],
        *,
        every: float = 0.05,
        max_bytes: int = 65_536,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> SyncBatch[B]:
        """The sync twin of `batch`: enter it with `with`."""
        return SyncBatch(self.batch(topic, every=every, max_bytes=max_bytes, run_id=run_id, metadata=metadata))
