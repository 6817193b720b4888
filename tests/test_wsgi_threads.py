"""WSGI servers with few threads: what they tell of them, and what the log says when streams take them."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable, Generator, Iterator

import pytest

from conformance.client import Client
from conformance.servers import RunningServer, ServerCase, gunicorn, running
from inngest_realtime_core.endpoints import wsgi_threads
from inngest_realtime_core.endpoints.wsgi_threads import counted, server_threads
from inngest_realtime_devserver.server import DevServer
from talk import eventually

FLASK = "conformance.apps.flask:app"
DJANGO = "conformance.apps.django:wsgi"
THREADS = ("--worker-class", "gthread", "--threads", "4")


def waitress(app: str) -> Callable[[int, int], list[str]]:
    def command(port: int, workers: int) -> list[str]:
        # By default it holds 18,000 bytes back.
        options = ["--threads=4", "--send-bytes=1", f"--listen=127.0.0.1:{port}"]
        return [sys.executable, "-m", "waitress", *options, app]

    return command


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


def lines(server: RunningServer, what: str) -> int:
    return server.log.count(what)


ENDPOINT = "/api/realtime/pipeline/stream?runId={}"


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (gunicorn(FLASK, *THREADS), ENDPOINT),
        (gunicorn(DJANGO, *THREADS), ENDPOINT),
        (gunicorn(DJANGO, *THREADS), "/own/{}/response"),
        (waitress(FLASK), "/own/{}/stream"),
    ],
    ids=["gunicorn-flask", "gunicorn-django", "gunicorn-django-own", "waitress-flask-own"],
)
async def test_streams_that_take_the_threads_are_told(
    inngest: DevServer, command: Callable[[int, int], list[str]], path: str
) -> None:
    """Two tabs of a server with four threads are fine; with the third one thread is left for everything else."""
    case = ServerCase("four threads", command, environment={"CONFORMANCE_MAX_STREAMS": "16"})
    with running(case, inngest.url) as server:
        async with Client(server.url) as client:
            for number in range(3):
                assert lines(server, "Open event streams occupy") == 0
                response = await client.http.send(
                    client.http.build_request("GET", path.format(f"{number}")), stream=True
                )
                assert response.status_code == 200
                assert (await anext(response.aiter_bytes())).startswith(b"retry:")
            await eventually(lambda: lines(server, "Open event streams occupy 3 of the 4 threads") == 1)
        # The ready-made endpoints know before how many they would open.
        told = lines(server, "max_streams allows 16 streams, and this server has 4 threads")
        assert told == (path == ENDPOINT)


async def test_enough_threads_are_not_spoken_of(inngest: DevServer) -> None:
    case = ServerCase("enough", gunicorn(FLASK), environment={"CONFORMANCE_MAX_STREAMS": "16"})
    with running(case, inngest.url) as server:
        async with Client(server.url) as client, client.stream("pipeline/stream", runId="a") as stream:
            await stream.next_block()
        assert "this server has" not in server.log
        assert "Open event streams" not in server.log


@pytest.mark.parametrize("app", [FLASK, DJANGO])
async def test_a_server_with_one_thread_refuses_streams(inngest: DevServer, app: str) -> None:
    """gunicorn's sync worker: ready-made endpoints, helpers, and responses of one's own."""
    with running(ServerCase("sync", gunicorn(app, "--worker-class", "sync")), inngest.url) as server:
        async with Client(server.url) as client:
            for path in (ENDPOINT.format("a"), "/own/a/stream", "/own/a/response", "/own/a/rendered"):
                response = await client.http.get(path)
                assert (response.status_code, response.json()["error"]["code"]) == (503, "single_threaded_server")
                assert response.headers["content-type"] == "application/json"
                assert (await client.http.get("/own/a/token")).status_code == 200
                await client.until_stats(lambda stats: stats["subscriptions"] == 0)
        assert lines(server, "answers one request at a time") == 4


@pytest.mark.parametrize(
    ("name", "module", "threads"),
    [
        ("uwsgi", types.SimpleNamespace(opt={"threads": b"6"}), 6),
        ("uwsgi", types.SimpleNamespace(opt={}), 1),
        ("mod_wsgi", types.SimpleNamespace(threads_per_process=15), 15),
        ("mod_wsgi", types.SimpleNamespace(), None),  # the package of that name, where its server does not run
    ],
)
def test_servers_that_tell_in_a_module(
    monkeypatch: pytest.MonkeyPatch, name: str, module: types.SimpleNamespace, threads: int | None
) -> None:
    monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    assert server_threads() == threads


def test_streams_that_end_give_their_threads_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wsgi_threads, "server_threads", lambda: 4)
    closed: list[None] = []

    def body() -> Generator[bytes, None, None]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(None)

    with caplog.at_level(logging.WARNING, wsgi_threads.logger.name):
        for _ in range(5):
            two = [counted(body()) for _ in range(2)]
            assert [next(one) for one in two] == [b"a", b"a"]
            two[0].close()
            assert list(two[1]) == [b"b"]
        assert len(closed) == 10
        assert not caplog.records
        three = [counted(body()) for _ in range(3)]
        assert [next(one) for one in three] == [b"a"] * 3
        for one in three:
            one.close()
    assert [record.event for record in caplog.records] == ["server.threads_taken"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("limit", "told"), [(3, 0), (4, 1), (None, 1)])
def test_limits_above_the_threads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int | None, told: int
) -> None:
    monkeypatch.setattr(wsgi_threads, "server_threads", lambda: 4)
    wsgi_threads.check_limit(limit)
    assert len(caplog.records) == told
    for record in caplog.records:
        assert "max_streams=2" in record.getMessage()
