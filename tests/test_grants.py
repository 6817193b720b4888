from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone, camel_case, kebab_case
from inngest_realtime_core.errors import ChannelError, ConfigurationError, TopicError


class ChatThread(Channel, name="chat:{org_id}:{number}"):
    org_id: str
    number: int
    status = topic(Any)
    lifecycle = topic(Any, name="$run")


class Other(Channel, name="other"):
    status = topic(Any)


def test_a_grant_takes_name_and_topics_from_its_channel() -> None:
    grant = Grant(ChatThread, authorize=allow_anyone)
    assert grant.name == "chat-thread"
    assert grant.topics == ("status", "$run")
    assert grant.spellings == {"org_id": "org_id", "orgId": "org_id", "number": "number"}
    assert repr(grant) == "Grant(ChatThread, topics=['status', '$run'], name='chat-thread')"


def test_topics_are_names_or_topic_objects_and_collapse() -> None:
    grant = Grant(ChatThread, [ChatThread.lifecycle, "status", "$run"], authorize=allow_anyone)
    assert grant.topics == ("$run", "status")


def test_a_plain_name_is_a_channel_without_parameters() -> None:
    grant = Grant("news", ["headline"], authorize=allow_anyone)
    assert (grant.name, grant.topics, dict(grant.spellings)) == ("news", ("headline",), {})


def test_a_name_unfit_for_a_url_needs_another() -> None:
    with pytest.raises(ConfigurationError, match="name="):
        Grant("news:world", ["headline"], authorize=allow_anyone)
    assert Grant("news:world", ["headline"], authorize=allow_anyone, name="world").name == "world"


def test_authorize_is_required() -> None:
    with pytest.raises(ConfigurationError, match=r"authorize=allow_anyone"):
        Grant(ChatThread)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):  # as any argument of Python's that is missing
        Grant(ChatThread)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(ConfigurationError, match=r"bool, which cannot be called"):
        Grant(ChatThread, authorize=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_grant_can_be_copied() -> None:
    grant = Grant(ChatThread, authorize=allow_anyone)
    copied = copy.copy(grant)
    assert (copied.authorize, copied.topics) == (allow_anyone, grant.topics)


@pytest.mark.parametrize("topics", [["nope"], [Other.status], [], "status", Other.status])
def test_topics_must_be_declared_by_the_channel(topics: Any) -> None:
    with pytest.raises(ConfigurationError, match="chat-thread"):
        Grant(ChatThread, topics, authorize=allow_anyone)


def test_a_plain_name_must_list_its_topics() -> None:
    with pytest.raises(ConfigurationError, match=r"topics=\[\.\.\.\]"):
        Grant("news", authorize=allow_anyone)
    with pytest.raises(TopicError):
        Grant("news", [""], authorize=allow_anyone)


def test_the_channel_is_a_class_or_a_name() -> None:
    with pytest.raises(ConfigurationError, match="the class itself"):
        Grant(ChatThread(org_id="a", number=1), authorize=allow_anyone)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ChannelError):
        Grant("", ["headline"], authorize=allow_anyone)


@pytest.mark.parametrize("option", ["reauthorize_every", "heartbeat"])
def test_intervals_are_above_zero(option: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        Grant(ChatThread, authorize=allow_anyone, **{option: 0})  # type: ignore[arg-type]


def test_two_parameters_may_not_be_spelt_alike() -> None:
    class Twins(Channel, name="x:{a_b}:{aB}"):
        a_b: str
        aB: str
        status = topic(Any)

    with pytest.raises(ConfigurationError, match="'aB'"):
        Grant(Twins, authorize=allow_anyone)


def test_camel_and_kebab() -> None:
    assert [camel_case(name) for name in ("run_id", "run", "a_b_c", "runId")] == ["runId", "run", "aBC", "runId"]
    names = ("Pipeline", "ChatThread", "HTTPLog", "Run2Go", "A", "Snake_Case")
    assert [kebab_case(name) for name in names] == ["pipeline", "chat-thread", "http-log", "run2-go", "a", "snake-case"]


def test_help_and_editors_know_the_parameters() -> None:
    parameters = inspect.signature(Grant).parameters
    assert list(parameters)[:3] == ["channel", "topics", "authorize"]
    assert parameters["authorize"].default is inspect.Parameter.empty
    assert parameters["rewind"].default is None
