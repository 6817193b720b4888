"""Requests that nobody would send, against the endpoints of every framework: each gets an answer that says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conformance.client import PREFIX
from conformance.servers import RunningServer

_GRANTS = st.sampled_from(["pipeline", "room", "news", "rendered", "full", "forgetful", "none", "", ".", "%2e%2e"])
_ENDPOINTS = st.sampled_from(["token", "token", "stream", "client.js", "", "x"])
_NAMES = st.one_of(
    st.sampled_from(
        ["runId", "run_id", "orgId", "number", "topics", "topics[]", "topics[0]", "rewind", "full", "format"]
    ),
    st.sampled_from(["lastEventId", "last_event_id", "access_token", "__proto__", "constructor"]),
    st.text(max_size=20),
)
_VALUES = st.one_of(
    st.sampled_from(
        ["", "a", "acme", "7", "-1", "1e9", "tokens", "status,tokens", "audit", "all", "true", "json", "a:b"]
    ),
    st.text(max_size=50),
    st.integers().map(str),
    st.sampled_from(["x" * 600, "9" * 400, "\x00", "%", "..", "{run_id}", "\u202e", "\U0001f600"]),
)
_PAIRS = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)
_RAW_QUERIES = st.binary(max_size=60).map(
    lambda raw: "".join(chr(byte) if chr(byte).isalnum() or chr(byte) in "%&=+;,[]" else f"%{byte:02x}" for byte in raw)
)


def _encoded(pairs: list[tuple[str, str]]) -> str:
    return urlencode([(name.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for name, value in pairs])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)
_BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=200),
    _JSON.map(lambda value: json.dumps(value).encode()),
    _PAIRS.map(lambda pairs: json.dumps(dict(pairs)).encode()),
    st.sampled_from(
        [b"[" * 5_000, b'{"a":' * 5_000, b'{"runId":' + b"1" * 5_000 + b"}", b'{"runId":"a"' + b" " * 70_000 + b"}"]
    ),
)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            [
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "text/plain; charset=x",
                ";",
            ]
        ),
        "last-event-id": st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300),
        "accept": st.sampled_from(["*/*", "text/event-stream", "image/png"]),
        "x-user": st.sampled_from(["member", "stranger"]),
        "origin": st.sampled_from(["null", "https://evil.example"]),
    },
)

# What may be answered, beside what an adapter's framework says of paths and methods that are not its own.
_CODES = {400, 401, 403, 404, 405, 413, 415, 422, 451}


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    # gunicorn ends connections that it kept, at any time.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=20, limits=limits) as client:
        yield client


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]),
    grant=_GRANTS,
    endpoint=_ENDPOINTS,
    query=_PAIRS.map(_encoded) | _RAW_QUERIES,
    body=_BODIES,
    headers=_HEADERS,
)
@example(method="POST", grant="pipeline", endpoint="token", query="", body=b"{", headers={})
@example(method="POST", grant="pipeline", endpoint="token", query="runId=%ff%00", body=b"", headers={})
@example(method="GET", grant="pipeline", endpoint="stream", query="runId=a&rewind=" + "9" * 400, body=b"", headers={})
def test_whatever_is_asked_for(
    http: httpx.Client,
    server: RunningServer,
    method: str,
    grant: str,
    endpoint: str,
    query: str,
    body: bytes,
    headers: dict[str, str],
) -> None:
    url = f"{PREFIX}/{grant}/{endpoint}?{query}"
    content = body if method in ("POST", "PUT", "PATCH") else None
    with http.stream(method, url, content=content, headers=headers) as response:
        if response.status_code == 200 and response.headers.get("content-type", "").startswith("text/event-stream"):
            return  # what was asked for is granted
        answer = response.read()
    if response.status_code < 400:
        return
    assert response.status_code in _CODES, (response.status_code, answer[:500])
    if method != "HEAD" and response.headers.get("content-type", "").startswith("application/json"):
        document = json.loads(answer)
        if "error" in document:
            assert document["error"]["code"]
            assert response.headers["cache-control"] == "no-store"


def test_nothing_of_it_was_an_error_of_the_server(http: httpx.Client, server: RunningServer) -> None:
    """Runs after the requests above, on the same server, and after some of its own."""
    for path in ("none/token", "pipeline/token", "pipeline/stream?runId=a&rewind=9", "room/token?orgId=a&number=x"):
        assert http.get(f"{PREFIX}/{path}").status_code in _CODES
    assert "Traceback" not in server.log
    stats = http.get("/stats").json()
    assert stats["endpoint_streams"] <= 32
