from __future__ import annotations

import json
from typing import Any

import pytest

from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel
from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.endpoints.grants import Grant, allow_anyone
from inngest_realtime_core.endpoints.selection import resume_point, select


class Thread(Channel, name="chat:{org_id}:{number}"):
    org_id: str
    number: int
    status = topic(Any)
    tokens = topic(Any)
    secret = topic(Any)


GRANT = Grant(Thread, ["status", "tokens"], authorize=allow_anyone, extra_parameters=["access_token"])
GOOD = [("orgId", "acme"), ("number", "7")]


@pytest.mark.parametrize("spelling", ["orgId", "org_id"])
def test_parameters_make_the_channel(spelling: str) -> None:
    selection = select(GRANT, [(spelling, "acme"), ("number", "7"), ("access_token", "s3cret")])
    assert selection.channel == Thread(org_id="acme", number=7)
    assert selection.topics == ("status", "tokens")


def test_a_body_adds_to_the_query() -> None:
    body = json.dumps({"number": 7, "topics": ["tokens"]}).encode()
    selection = select(GRANT, [("orgId", "acme")], body)
    assert selection.channel == Thread(org_id="acme", number=7)
    assert selection.topics == ("tokens",)
    assert select(GRANT, GOOD, b'{"org_id": "acme"}').channel == Thread(org_id="acme", number=7)
    assert select(GRANT, GOOD, b" \n").channel == Thread(org_id="acme", number=7)


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["tokens"], ("tokens",)),
        (["tokens,status"], ("tokens", "status")),
        (["tokens", "status"], ("tokens", "status")),
        (["tokens, tokens", "", "status"], ("tokens", "status")),
    ],
)
def test_topics_are_repeated_or_comma_separated(topics: list[str], expected: tuple[str, ...]) -> None:
    assert select(GRANT, [*GOOD, *(("topics", value) for value in topics)]).topics == expected


@pytest.mark.parametrize(
    ("parameters", "body", "status", "code", "parameter"),
    [
        ([("orgId", "acme")], b"", 400, "missing_parameter", "number"),
        ([("number", "7")], b"", 400, "missing_parameter", "orgId"),
        ([*GOOD, ("topic", "status")], b"", 400, "unknown_parameter", "topic"),
        ([*GOOD, ("number", "7")], b"", 400, "repeated_parameter", "number"),
        ([*GOOD, ("org_id", "other")], b"", 400, "contradictory_parameter", "org_id"),
        (GOOD, b'{"number": 8}', 400, "contradictory_parameter", "number"),
        ([*GOOD, ("topics", "")], b"", 400, "empty_topics", "topics"),
        (GOOD, b'{"topics": []}', 400, "empty_topics", "topics"),
        ([*GOOD, ("topics", "status,secret")], b"", 403, "topic_not_granted", "topics"),
        ([*GOOD, ("topics", "nope")], b"", 403, "topic_not_granted", "topics"),
        ([("orgId", "acme"), ("number", "x")], b"", 422, "invalid_parameter", "number"),
        ([("orgId", ""), ("number", "7")], b"", 422, "invalid_parameter", "orgId"),
        ([("orgId", "a:1"), ("number", "7")], b"", 422, "invalid_parameter", "orgId"),
        (GOOD, b"[]", 400, "malformed_body", None),
        (GOOD, b"{", 400, "malformed_body", None),
        (GOOD, b"\xff\xfe", 400, "malformed_body", None),
        ([("orgId", "acme")], b'{"number": 7.5}', 400, "malformed_body", "number"),
        ([("orgId", "acme")], b'{"number": null}', 400, "malformed_body", "number"),
        (GOOD, b'{"topics": [1.5]}', 400, "malformed_body", "topics"),
    ],
)
def test_endpoint_errors_name_the_parameter(
    parameters: list[tuple[str, str]], body: bytes, status: int, code: str, parameter: str | None
) -> None:
    with pytest.raises(EndpointError) as caught:
        select(GRANT, parameters, body)
    assert (caught.value.status, caught.value.code, caught.value.parameter) == (status, code, parameter)


def test_unknown_parameters_can_be_left_to_the_route() -> None:
    selection = select(GRANT, [*GOOD, ("page", "2"), ("page", "3")], ignore_unknown=True)
    assert selection.channel == Thread(org_id="acme", number=7)


def test_the_same_value_in_both_spellings_is_one() -> None:
    assert select(GRANT, [*GOOD, ("org_id", "acme")]).channel == Thread(org_id="acme", number=7)


def test_a_plain_name_needs_no_parameters() -> None:
    grant = Grant("news", ["headline"], authorize=allow_anyone)
    assert select(grant, []).channel == "news"
    with pytest.raises(EndpointError, match="these are: topics"):
        select(grant, [("runId", "1")])


def test_a_query_may_say_where_to_resume_and_the_header_wins() -> None:
    assert resume_point([*GOOD, ("lastEventId", "old")], None) == (GOOD, "old")
    assert resume_point([("last_event_id", "old"), *GOOD], "new") == (GOOD, "new")
    assert resume_point([*GOOD, ("lastEventId", "")], None) == (GOOD, None)
