"""What type checkers see of channels, topics and messages. Checked, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from typing_extensions import assert_type

from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel, Topic, TopicRef
from inngest_realtime_core.channels.parameter import Parameter
from inngest_realtime_core.channels.resolve import ResolvedChannel, adapter_for, resolve_channel, resolve_topics
from inngest_realtime_core.messages.message import Message


class Status(BaseModel):
    message: str


class Pipeline(Channel, name="pipeline:{run_id}"):
    LIMIT: ClassVar[int] = 3
    run_id: str
    status = topic(Status)
    tokens = topic(str)
    scores = topic(list[int])
    anything = topic()
    lifecycle = topic(Any, name="$run")
    step = topic(str | None)
    level = topic(Literal["low", "high"])


class Cell(Channel, name="cell:{row}:{sheet}"):
    row: int
    sheet: UUID
    value = topic(float)


class News(Channel, name="news"):
    headline = topic(str)


class NamedPipeline(Pipeline, name="pipeline:{run_id}:{part}"):
    part: int
    extra = topic(bool)


def constructors(uuid: UUID) -> None:
    assert_type(Pipeline(run_id="a"), Pipeline)
    assert_type(Pipeline(run_id="a").run_id, str)
    assert_type(Pipeline(run_id="a").name, str)
    assert_type(Cell(row=1, sheet=uuid).row, int)
    assert_type(Cell.from_strings({"row": "1", "sheet": "..."}), Cell)
    assert_type(News(), News)
    assert_type(NamedPipeline(run_id="a", part=1).extra, TopicRef[bool])
    assert_type(Pipeline.LIMIT, int)

    Pipeline()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Pipeline("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Pipeline(run_id=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pipeline(run_id="a", user="b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Pipeline(run_id="a").run_id = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def topics(ch: Pipeline) -> None:
    assert_type(Pipeline.status, Topic[Status])
    assert_type(ch.status, TopicRef[Status])
    assert_type(ch.tokens, TopicRef[str])
    assert_type(ch.scores, TopicRef[list[int]])
    assert_type(ch.anything, TopicRef[Any])
    assert_type(ch.lifecycle, TopicRef[Any])
    assert_type(ch.step, TopicRef[str | None])
    assert_type(ch.level, TopicRef[Literal["low", "high"]])
    assert_type(ch.status.channel, Channel)
    assert_type(ch.status.adapter, TypeAdapter[Status] | None)
    assert_type(Pipeline.topics(), Mapping[str, Topic[Any]])
    assert_type(Pipeline.parameters(), Mapping[str, Parameter])


def one_match(ch: Pipeline, message: Message[Any]) -> None:
    if ch.status.matches(message):
        assert_type(message, Message[Status])
        assert_type(message.data.message, str)
    else:
        assert_type(message, Message[Any])


def several_matches(ch: Pipeline, message: Message[Any]) -> None:
    if ch.status.matches(message):
        assert_type(message.data, Status)
    elif ch.tokens.matches(message):
        assert_type(message.data, str)
    elif ch.scores.matches(message):
        assert_type(message.data, list[int])
    elif ch.lifecycle.matches(message):
        assert_type(message.data, Any)
    else:
        assert_type(message, Message[Any])


def a_match_of_the_class(message: Message[Any]) -> None:
    if not Pipeline.status.matches(message):
        assert_type(message, Message[Any])
        return
    assert_type(message, Message[Status])


def resolving(ch: Pipeline) -> None:
    assert_type(resolve_channel(ch), ResolvedChannel)
    assert_type(resolve_channel("c").declaration, type[Channel] | None)
    assert_type(resolve_topics(ch, ["status", ch.tokens, Pipeline.scores]), tuple[str, ...])
    assert_type(resolve_topics(ch), tuple[str, ...])
    assert_type(adapter_for(Pipeline, "status"), TypeAdapter[Any] | None)
    resolve_topics(ch, [1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def names(channel: Pipeline) -> None:
    assert_type(Pipeline.from_name("pipeline:a"), Pipeline)
    assert_type(Pipeline.from_name(channel.name).run_id, str)


class Upload(Channel, name="upload-{file}", separators=""):
    file: str


def separators() -> None:
    assert_type(Upload(file="a-b").file, str)


class Sparse(Channel, name="sparse"):
    status = topic(Status, exclude_none=True)


assert_type(Sparse.status, Topic[Status])
