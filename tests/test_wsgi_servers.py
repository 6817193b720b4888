"""Encoded streams that an application gives to a WSGI server itself: the headers do not wait for a message."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conformance.client import Client
from conformance.servers import ServerCase, gunicorn, running
from inngest_realtime_core import Realtime
from inngest_realtime_core.subscriptions.wsgi_servers import read_by_server
from inngest_realtime_devserver.server import DevServer
from talk import fresh, soon

FLASK = "plain_wsgi:app"
BARE = "plain_wsgi:bare"


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


def python(code: str) -> Callable[[int, int], list[str]]:
    return lambda port, workers: [sys.executable, "-c", f"from plain_wsgi import app, bare; PORT = {port}; {code}"]


WSGIREF = (
    "from socketserver import ThreadingMixIn; from wsgiref.simple_server import WSGIServer, make_server; "
    "Server = type('Server', (ThreadingMixIn, WSGIServer), {}); "
    "make_server('127.0.0.1', PORT, bare, Server).serve_forever()"
)
SERVERS = {
    "gthread": gunicorn(FLASK),
    "gevent": gunicorn(FLASK, "--worker-class", "gevent"),
    "waitress": lambda port, _: [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", FLASK],
    "granian": lambda port, _: [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--port", f"{port}"),
        *("--blocking-threads", "4", BARE),
    ],
    "werkzeug": python("app.run(port=PORT)"),
    "wsgiref": python(WSGIREF),
}


@pytest.mark.parametrize("server", SERVERS)
async def test_the_headers_do_not_wait_for_a_message(inngest: DevServer, server: str) -> None:
    with running(ServerCase(server, SERVERS[server]), inngest.url) as running_server:
        async with Client(running_server.url) as client:
            request = client.http.build_request("GET", "/encoded")
            response = await soon(client.http.send(request, stream=True))
            assert response.headers["content-type"].startswith("text/event-stream")
            body = response.aiter_bytes()
            # One line of a comment: no block that a naive reader takes for a message.
            assert await soon(anext(body)) == b": heartbeat\n"
            inngest.publish_sync("plain", "t", 1)
            assert (await soon(anext(body))).startswith(b"data: {")
            await response.aclose()


def test_an_application_that_reads_is_told_from_its_server() -> None:
    """What a server calls may read a stream itself: that gets messages and nothing else."""
    server: dict[str, Any] = {"__name__": "gunicorn.workers.gthread"}
    exec("def iterate(body): return next(body)\ndef call(application): return application({}, None)", server)

    def body() -> Iterator[bool]:
        yield read_by_server()

    def application(environ: dict[str, Any], start_response: Any) -> bool:
        return next(body())

    def middleware(environ: dict[str, Any], start_response: Any) -> Iterator[bool]:
        yield from body()

    assert server["iterate"](body())
    assert server["iterate"](middleware({}, None))
    assert not server["call"](application)
    assert not next(body())


@pytest.mark.parametrize("server", [None, "uwsgi", "mod_wsgi"])
def test_servers_written_in_c(monkeypatch: pytest.MonkeyPatch, inngest: DevServer, server: str | None) -> None:
    if server is not None:
        monkeypatch.setitem(sys.modules, server, types.SimpleNamespace(threads_per_process=4))
    realtime = Realtime(api_base_url=inngest.url)
    channel = fresh()
    stream = realtime.subscribe_sync(channel=channel, topics=["t"]).get_encoded_stream()
    if server is not None:
        assert next(stream) == b": heartbeat\n"
    realtime.publish_sync((channel, "t"), 1)
    assert next(stream).startswith(b"data: ")
    realtime.close_sync()


def test_what_a_server_printed_is_shown_with_the_test_that_fails(
    inngest: DevServer, capsys: pytest.CaptureFixture[str]
) -> None:
    name, command = next(iter(SERVERS.items()))
    with pytest.raises(ZeroDivisionError), running(ServerCase(name, command), inngest.url):
        raise ZeroDivisionError
    assert f"log of {name}" in capsys.readouterr().out
