"""The parameters of a request, within bounds, whatever is sent."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.endpoints.parameters import body_parameters, query_parameters, spelling_of

FORM = "application/x-www-form-urlencoded; charset=utf-8"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=10))
def test_a_query_and_a_form_say_the_same(pairs: list[tuple[str, str]]) -> None:
    query = urlencode(pairs)
    assert query_parameters(query) == pairs
    if not query.startswith("%7B"):
        assert body_parameters(query.encode(), FORM) == [*pairs]


@given(st.dictionaries(TEXT.filter(lambda name: spelling_of(name) != "topics"), TEXT | st.integers(), max_size=10))
def test_a_json_body_is_spelt_like_a_query(document: dict[str, Any]) -> None:
    assert body_parameters(json.dumps(document).encode()) == [(name, str(value)) for name, value in document.items()]


@given(st.binary(max_size=200), st.sampled_from(["", FORM, "application/json", "multipart/form-data; boundary=x"]))
def test_any_body_is_read_or_refused(body: bytes, content_type: str) -> None:
    with contextlib.suppress(EndpointError):
        for name, value in body_parameters(body, content_type):
            (name + value).encode()


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_query_is_read_or_refused(query: str) -> None:
    for name, value in query_parameters(query):
        (name + value).encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "malformed_body"),
        (b"[" * 60_000, "malformed_body"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "malformed_body"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "malformed_body"),
        (b'{"a": NaN}', "malformed_body"),
        (b'{"a": "\\ud800"}', "malformed_body"),
        (b'{"\\ud800": "a"}', "malformed_body"),
        ('{"a": 1}'.encode("utf-16"), "malformed_body"),
        (b'{"a": {"b": 1}}', "malformed_body"),
        (b'{"a": 1, "a": 1}', "repeated_parameter"),
        (b'{"topics": ["x"], "topics": ["y"]}', "repeated_parameter"),
        (json.dumps({str(number): 1 for number in range(300)}).encode(), "too_many_parameters"),
        (json.dumps({"topics": ["x"] * 300}).encode(), "too_many_parameters"),
        (json.dumps({"a": "x" * 9_000}).encode(), "invalid_parameter"),
        (json.dumps({"x" * 200: 1}).encode(), "unknown_parameter"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else value,
)
def test_a_hostile_body(body: bytes, code: str) -> None:
    with pytest.raises(EndpointError) as refused:
        body_parameters(body)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("query", "code"),
    [("&".join(["topics=x"] * 300), "too_many_parameters"), ("a=" + "x" * 9_000, "invalid_parameter")],
    ids=["many", "long"],
)
def test_a_hostile_query(query: str, code: str) -> None:
    with pytest.raises(EndpointError) as refused:
        query_parameters(query)
    assert refused.value.code == code


def test_topics_as_clients_send_them() -> None:
    assert [spelling_of(name) for name in ("topics", "topics[]", "topics[0]", "topics[12]")] == ["topics"] * 4
    assert [spelling_of(name) for name in ("topics[x]", "topics[", "topics[]]", "topics]")] != ["topics"] * 4
    assert body_parameters(b'{"topics": null, "full": null}') == []
    assert body_parameters(b'{"topics": []}') == [("topics", "")]
    assert body_parameters(b'{"topics[]": ["a", "b"]}') == [("topics", "a"), ("topics", "b")]
    assert body_parameters(f"topics[]={quote('a b')}&runId=1".encode(), FORM) == [("topics[]", "a b"), ("runId", "1")]
    assert body_parameters(b'{"runId": "curl sends JSON as a form"}', FORM)[0][0] == "runId"


def multipart(fields: list[tuple[str, str]], **options: Any) -> tuple[bytes, str]:
    """What httpx makes of fields, as browsers do of `FormData`."""
    request = httpx.Request("POST", "http://site", files=[(name, (None, value)) for name, value in fields], **options)
    return request.read(), request.headers["content-type"]


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), min_size=1, max_size=20)


@given(st.lists(st.tuples(NAMES, TEXT), min_size=1, max_size=10))
def test_form_data_says_the_same(pairs: list[tuple[str, str]]) -> None:
    assert body_parameters(*multipart(pairs)) == pairs


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1', "malformed_body"),
        (b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n1\r\n--x--', "malformed_body"),
        (b"--x--\r\nmore", "malformed_body"),
        (b"--x\r\n\r\n1\r\n--x--", "malformed_body"),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 300 + b"--x--", "too_many_parameters"),
        (b"--x\r\n" * 9_000 + b"--x--", "too_many_parameters"),
    ],
    ids=["unended", "a file", "more", "no name", "many", "nothing but separators"],
)
def test_hostile_form_data(body: bytes, code: str) -> None:
    with pytest.raises(EndpointError) as refused:
        body_parameters(body, "multipart/form-data; boundary=x")
    assert refused.value.code == code
