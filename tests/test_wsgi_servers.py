"""Encoded streams that an application gives to a WSGI server itself: the headers do not wait for a message."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Iterator

import pytest

from conformance.client import Client
from conformance.servers import ServerCase, gunicorn, running
from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from talk import eventually, fresh, soon

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


async def test_a_view_that_reads_gets_messages_alone(inngest: DevServer) -> None:
    with running(ServerCase("gthread", gunicorn(FLASK)), inngest.url) as server:
        async with Client(server.url) as client:
            reading = asyncio.ensure_future(client.http.get("/read"))
            await eventually(lambda: inngest.stats().open_connections == 1)
            while not reading.done():
                inngest.publish_sync("plain", "t", 1)
                await asyncio.sleep(0.05)
            assert (await reading).content.startswith(b"data: {")


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
