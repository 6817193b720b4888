"""A page of another origin, behind each framework's own CORS middleware configured as `docs/cors.md` says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from conformance.client import parse
from conformance.servers import ServerCase, gunicorn, running, uvicorn
from inngest_realtime_devserver.server import DevServer

ORIGIN = "https://app.example.com"
PREFIX = "/api/realtime"
CASES = [
    ServerCase("starlette", uvicorn("cors_sites:starlette", "--factory")),
    ServerCase("fastapi", uvicorn("cors_sites:fastapi", "--factory")),
    ServerCase("django-asgi", uvicorn("cors_sites:django_asgi", "--factory", "--lifespan", "off")),
    ServerCase("django-wsgi", gunicorn("cors_sites:django_wsgi()")),
    ServerCase("flask", gunicorn("cors_sites:flask()")),
]


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture(scope="module", params=CASES, ids=[case.name for case in CASES])
def client(request: pytest.FixtureRequest, inngest: DevServer) -> Iterator[httpx.Client]:
    with (
        running(request.param, inngest.url) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=5, headers={"Origin": ORIGIN}) as client,
    ):
        yield client


def readable(response: httpx.Response, origin: str = ORIGIN) -> bool:
    """Whether a browser lets the page read a response to a request with credentials."""
    headers = response.headers
    return headers.get("access-control-allow-origin") == origin and (
        headers.get("access-control-allow-credentials") == "true"
    )


def names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


@pytest.mark.parametrize("endpoint", ["token", "stream"])
def test_a_preflight_allows_last_event_id(client: httpx.Client, endpoint: str) -> None:
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,last-event-id"}
    response = client.options(f"{PREFIX}/pipeline/{endpoint}", headers=asked)
    assert response.is_success
    assert readable(response)
    assert {"last-event-id", "authorization"} <= names(response.headers["access-control-allow-headers"])
    assert "get" in names(response.headers["access-control-allow-methods"])


def test_a_preflight_of_a_token_by_post(client: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    response = client.options(f"{PREFIX}/pipeline/token", headers=asked)
    assert response.is_success
    assert readable(response)
    assert "content-type" in names(response.headers["access-control-allow-headers"])
    assert "post" in names(response.headers["access-control-allow-methods"])


def test_a_token_is_readable(client: httpx.Client) -> None:
    got = client.get(f"{PREFIX}/pipeline/token", params={"runId": "a"})
    posted = client.post(f"{PREFIX}/pipeline/token", json={"runId": "a"})
    for response in (got, posted):
        assert response.status_code == 200
        assert readable(response)
        assert response.json()["key"]


def test_a_stream_is_readable_and_resumes(client: httpx.Client, inngest: DevServer) -> None:
    parameters = {"runId": uuid.uuid4().hex}
    last: dict[str, str] = {}
    for _ in range(2):
        with client.stream("GET", f"{PREFIX}/pipeline/stream", params=parameters, headers=last) as response:
            assert response.status_code == 200
            assert readable(response)
            received = b""
            for chunk in response.iter_raw():
                received += chunk
                if b"\n\n" in received:
                    break
        ready = parse(received.partition(b"\n\n")[0])
        assert ready.event == "ready"
        assert ready.id
        last = {"Last-Event-ID": ready.id}


@pytest.mark.parametrize("endpoint", ["token", "stream"])
def test_errors_are_readable(client: httpx.Client, endpoint: str) -> None:
    url = f"{PREFIX}/pipeline/{endpoint}"
    for response, status, code in (
        (client.get(url, params={"runId": "a"}, headers={"X-User": "stranger"}), 403, "forbidden"),
        (client.get(url, params={"runId": "a:b"}), 422, "invalid_parameter"),
        (client.delete(url, params={"runId": "a"}), 405, "method_not_allowed"),
    ):
        assert response.status_code == status
        assert readable(response)
        body = response.json()
        assert (body.get("error") or body["detail"])["code"] == code


@pytest.mark.parametrize("endpoint", ["token", "stream"])
def test_a_page_of_an_origin_that_is_not_named_reads_nothing(client: httpx.Client, endpoint: str) -> None:
    other = "https://elsewhere.example"
    response = client.get(
        f"{PREFIX}/pipeline/{endpoint}", params={"runId": "a"}, headers={"Origin": other, "X-User": "stranger"}
    )
    assert response.status_code == 403
    assert not readable(response, other)
    assert response.headers.get("access-control-allow-origin") not in (other, "*")
