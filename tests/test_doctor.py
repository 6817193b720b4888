"""`inngest-realtime doctor` on set-ups that work and on broken ones: it names what is wrong with each."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from inngest_realtime_cli import main
from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_devserver import DevServer
from inngest_realtime_fastapi import realtime_router
from ports import free_port
from raw_server import http_answer, raw_server
from reverse_proxy import collected, cut_after_silence, late, reverse_proxy, without_upgrade
from test_cli import KEPT, KEY, START

UNTRUSTED = Path(__file__).parent / "certificates" / "untrusted.pem"
VARIABLES = [name for name in os.environ if name.startswith("INNGEST_") or name.lower().endswith("_proxy")]


class Job(Channel, name="job:{job_id}"):
    job_id: str
    status = topic(str)


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name)


@pytest.fixture
def inngest() -> Iterator[DevServer]:
    with DevServer(signing_key=KEY).in_thread() as server:
        yield server


@pytest.fixture
def dev() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@contextmanager
def serving(app: object, **options: Any) -> Iterator[str]:
    """Run an ASGI application on a free port, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", **options))  # type: ignore[arg-type]
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def application(inngest: DevServer, *, heartbeat: float = 0.1) -> Iterator[str]:
    """The stream's address of an application in order."""
    realtime = Realtime(api_base_url=inngest.url)
    app = FastAPI()
    router = realtime_router(realtime, [Grant(Job, authorize=allow_anyone)], heartbeat=heartbeat)
    app.include_router(router, prefix="/realtime")
    with serving(app) as url:
        yield f"{url}/realtime/job/stream?jobId=1"
        realtime.begin_shutdown()


class Found:
    """What the doctor printed."""

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.lines = output.splitlines()
        for line in self.lines:
            assert re.fullmatch(r"(ok      |note    |PROBLEM ) [\w ]+: \S.*", line), line

    def problem(self) -> str:
        """The one problem, which is the last line but for what works in spite of it."""
        assert self.status == 1
        (line,) = [line for line in self.lines if line.startswith("PROBLEM")]
        return line.removeprefix("PROBLEM  ")

    def fine(self) -> list[str]:
        assert self.status == 0, self.lines
        return [line[9:].partition(":")[0] for line in self.lines]


def doctor(capfd: pytest.CaptureFixture[str], *arguments: str) -> Found:
    status = main(["doctor", *arguments])
    return Found(status, capfd.readouterr().out)


def test_all_is_well(inngest: DevServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY", KEY)
    monkeypatch.setenv("INNGEST_BASE_URL", inngest.url)
    found = doctor(capfd)
    assert found.fine() == ["address", "key", "proxy", "token", "clock", "WebSocket", "delivery"]
    assert f"{inngest.url}, from INNGEST_BASE_URL." in found.lines[0]
    assert KEY[13:] not in "".join(found.lines)


def test_nothing_listens(capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, "--api-base-url", "http://127.0.0.1:1").problem()
    assert problem.startswith("address: ")
    assert "no connection" in problem
    assert "container" in problem


def test_what_authorizes_in_the_address_of_a_stream_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    for address in (
        "http://ada:hunter2@127.0.0.1:1/x",
        "http://127.0.0.1:1/x?token=hunter2",
        "ftp://a:hunter2@b/#hunter2",
    ):
        status = main(["doctor", "--stream-url", address, "--wait", "1"])
        shown = capfd.readouterr()
        assert status == 1
        assert "127.0.0.1:1/x" in shown.out or "ftp://b/" in shown.out
        assert "hunter2" not in shown.out + shown.err


def test_an_address_of_another_machine_or_scheme(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, "--api-base-url", "http://inngest.invalid:8288").problem()
    assert problem.startswith("address: ")
    assert "container" not in problem
    assert "finds no address for the host's name" in problem
    problem = doctor(capfd, "--api-base-url", f"{dev.url}/v1").problem()
    assert "The address is to end before /v1" in problem
    problem = doctor(capfd, "--api-base-url", dev.url.replace("http", "https")).problem()
    assert problem.startswith("address: ")
    assert "does not speak TLS: is http:// meant?" in problem


@pytest.fixture
def certified() -> Iterator[str]:
    """The address of a server with TLS, whose certificate nobody here trusts."""
    with serving(FastAPI(), ssl_certfile=UNTRUSTED, ssl_keyfile=UNTRUSTED) as url:
        yield url.replace("http", "https")


@pytest.mark.parametrize("option", ["--api-base-url", "--stream-url"])
def test_a_certificate_that_nobody_trusts(option: str, certified: str, capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, option, certified).problem()
    assert "This machine does not trust the certificate" in problem
    assert "SSL_CERT_FILE" in problem
    assert "http:// meant" not in problem


@pytest.mark.parametrize("option", ["--api-base-url", "--stream-url"])
def test_http_where_tls_is_spoken(option: str, certified: str, capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, option, certified.replace("https", "http")).problem()
    assert "is https:// meant" in problem


def test_a_stream_by_tls_where_http_is_spoken(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, "--stream-url", dev.url.replace("http", "https")).problem()
    assert "does not speak TLS" in problem


def test_a_web_server_that_takes_no_post(capfd: pytest.CaptureFixture[str]) -> None:
    with raw_server(http_answer("501 Unsupported method", b"<html>", content_type="text/html")) as server:
        problem = doctor(capfd, "--api-base-url", server.url).problem()
    assert problem.startswith("address: ")
    assert "not Inngest responds" in problem


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "INNGEST_SIGNING_KEY"),
        ({"INNGEST_DEV": "ftp://x"}, "INNGEST_DEV"),
        ({"INNGEST_BASE_URL": "a b"}, "valid URL"),
    ],
)
def test_settings(
    environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    problem = doctor(capfd).problem()
    assert problem.startswith("settings: ")
    assert says in problem


def test_a_wrong_key(inngest: DevServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY", KEY[:-2] + "00")
    problem = doctor(capfd, "--api-base-url", inngest.url).problem()
    assert problem.startswith("key: ")
    assert "compare INNGEST_SIGNING_KEY" in problem


def test_no_key(inngest: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, "--api-base-url", inngest.url).problem()
    assert problem.startswith("key: ")
    assert "none was sent" in problem
    assert "is not that of" not in problem


@pytest.mark.parametrize("refused", ["INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK"])
def test_a_rotation_that_is_not_finished(
    inngest: DevServer, refused: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK"):
        monkeypatch.setenv(name, KEY[:-2] + "00" if name == refused else KEY)
    found = doctor(capfd, "--api-base-url", inngest.url)
    assert "keys" in found.fine()
    (line,) = [line for line in found.lines if line.startswith("note     keys")]
    assert f"does not take {refused}," in line


def test_an_address_that_is_not_inngest(capfd: pytest.CaptureFixture[str]) -> None:
    page = http_answer("200 OK", b"<!DOCTYPE html><p>Hello", content_type="text/html", connection="close")
    with raw_server(page) as server:
        problem = doctor(capfd, "--api-base-url", server.url).problem()
    assert problem.startswith("address: ")
    assert "not Inngest" in problem


@pytest.mark.parametrize(("status", "says"), [("429 Too Many Requests", "too many requests"), ("503 No", "a problem")])
def test_an_inngest_that_is_not_well_is_not_taken_for_something_else(
    status: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with raw_server(http_answer(status, b"{}", connection="close")) as server:
        problem = doctor(capfd, "--api-base-url", server.url).problem()
    assert problem.startswith("Inngest: ")
    assert says in problem
    assert "not Inngest" not in problem


def test_a_clock_that_is_ahead(dev: DevServer) -> None:
    code = (
        "import time, sys; real = time.time; time.time = lambda: real() + 300\n"
        "from inngest_realtime_cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "doctor", "--api-base-url", dev.url]
    done = subprocess.run(command, env=KEPT, capture_output=True, text=True, timeout=START, check=False)
    found = Found(done.returncode, done.stdout)
    assert re.match(r"clock: this machine's is (299|300|301) s ahead", found.problem())


def test_a_reverse_proxy_that_does_not_pass_websockets(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with reverse_proxy(dev.url, change=without_upgrade) as url:
        found = doctor(capfd, "--api-base-url", url)
    assert found.problem().startswith("WebSocket: ")
    assert "hand on Upgrade" in found.problem()
    assert any(line.startswith("ok       token") for line in found.lines)


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("http://user:secret@127.0.0.1:1", "names 127.0.0.1:1 for 127.0.0.1, and there is no connection to it"),
        ("http://user:secret@proxy.invalid", "names proxy.invalid:80 for 127.0.0.1"),
        ("http://user:secret@127.0.0.1:port", "no valid host and port"),
        ("ftp://user:secret@127.0.0.1:1", "not supported"),
    ],
)
def test_a_dead_forward_proxy_is_named_without_its_password(
    dev: DevServer, proxy: str, says: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    found = doctor(capfd, "--api-base-url", dev.url)
    assert found.problem().startswith("proxy: ")
    assert says in found.problem()
    assert "secret" not in "".join(found.lines)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("407 Proxy Authentication Required", "a proxy asks for a user and a password"),
        ("403 Forbidden", "ask it to let 127.0.0.1 pass"),
        ("502 Bad Gateway", "ask it to let 127.0.0.1 pass"),
    ],
)
def test_a_forward_proxy_that_refuses(
    dev: DevServer, status: str, says: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    page = http_answer(status, b"<html>denied", content_type="text/html", connection="close")
    with raw_server(page) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        problem = doctor(capfd, "--api-base-url", dev.url).problem()
    assert problem.startswith("proxy: ")
    assert says in problem


def test_messages_that_do_not_arrive(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    dev.reject_publishes(500)
    problem = doctor(capfd, "--api-base-url", dev.url).problem()
    assert problem.startswith("publish: ")
    assert "500" in problem


# In front of a stream


def test_a_stream_in_order(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with application(dev, heartbeat=0.4) as url:
        found = doctor(capfd, "--stream-url", url, "--wait", "2")
    assert found.fine() == ["response", "first byte", "heartbeats"]


def test_a_proxy_that_collects_the_whole_response(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with application(dev) as url:
        base, path = url.partition("/realtime")[0], url.partition("/realtime")[2]
        with reverse_proxy(base, respond=collected(10**9)) as front:
            problem = doctor(capfd, "--stream-url", f"{front}/realtime{path}", "--wait", "1").problem()
    assert problem.startswith("stream: no response began")
    assert "proxy_buffering" in problem


def test_a_proxy_that_collects_4_kib(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with application(dev, heartbeat=0.01) as url:
        base, path = url.partition("/realtime")[0], url.partition("/realtime")[2]
        with reverse_proxy(base, respond=collected(4_096)) as front:
            problem = doctor(capfd, "--stream-url", f"{front}/realtime{path}", "--wait", "12").problem()
    assert problem.startswith("first byte: it came after")


def test_no_heartbeats(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with application(dev, heartbeat=60) as url:
        problem = doctor(capfd, "--stream-url", url, "--wait", "1").problem()
    assert problem.startswith("heartbeats: nothing came in the 1 s")


def test_a_proxy_that_ends_silent_responses(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with application(dev, heartbeat=60) as url:
        base, path = url.partition("/realtime")[0], url.partition("/realtime")[2]
        with reverse_proxy(base, respond=cut_after_silence(0.5)) as front:
            problem = doctor(capfd, "--stream-url", f"{front}/realtime{path}", "--wait", "20").problem()
    assert re.match(r"heartbeats: the response ended after \d\.\d s of silence", problem)
    assert "proxy_read_timeout" in problem


def test_an_application_that_is_slow_is_not_taken_for_a_buffer(
    dev: DevServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with application(dev, heartbeat=0.4) as url:
        base, path = url.partition("/realtime")[0], url.partition("/realtime")[2]
        with reverse_proxy(base, change=late(2.1)) as front:
            found = doctor(capfd, "--stream-url", f"{front}/realtime{path}", "--wait", "5")
    assert found.fine() == ["response", "first byte", "heartbeats"]
    assert "The application took so long" in found.lines[1]


def test_a_redirect_and_a_gateway(capfd: pytest.CaptureFixture[str]) -> None:
    moved = http_answer("302 Found", connection="close", location="http://127.0.0.1/login?next=secret")
    with raw_server(moved) as server:
        problem = doctor(capfd, "--stream-url", server.url).problem()
    assert "302, and leads to http://127.0.0.1/login: give that address, or the session with --header" in problem
    with raw_server(http_answer("502 Bad Gateway", connection="close")) as server:
        problem = doctor(capfd, "--stream-url", server.url).problem()
    assert "The proxy does not reach the application" in problem
    with raw_server(http_answer("401 Unauthorized", connection="close")) as server:
        problem = doctor(capfd, "--stream-url", server.url).problem()
    assert "401, and not of this package's endpoints. Something in front wants to know who asks" in problem


def test_a_machine_that_is_slow_itself_is_not_taken_for_a_buffer(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowlyMade(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            time.sleep(2.1)
            super().__init__(**options)

    monkeypatch.setattr(httpx, "AsyncClient", SlowlyMade)
    body = b"event: ready\ndata: {}\n\n"
    with raw_server(http_answer("200 OK", body, content_type="text/event-stream", connection="close")) as server:
        found = doctor(capfd, "--stream-url", server.url, "--wait", "1")
    assert any(line.startswith("ok       first byte: after") for line in found.lines)


def test_a_stream_that_is_refused(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    with application(dev) as url:
        problem = doctor(capfd, "--stream-url", url.replace("jobId", "unknown"), "--wait", "1").problem()
    assert problem.startswith("stream: the response is 400 (")
    assert "unknown" in problem


def test_another_page_and_nothing_at_all(dev: DevServer, capfd: pytest.CaptureFixture[str]) -> None:
    problem = doctor(capfd, "--stream-url", f"{dev.url}/").problem()
    assert "not text/event-stream" in problem
    problem = doctor(capfd, "--stream-url", f"{dev.url}/realtime?token=secret").problem()
    assert problem.startswith("stream: the response is 404")
    problem = doctor(capfd, "--stream-url", "http://127.0.0.1:99999/").problem()
    assert "a port is at most 65535" in problem
    problem = doctor(capfd, "--stream-url", "http://127.0.0.1:1/stream?token=secret").problem()
    assert "Is the application running?" in problem
    assert "secret" not in problem


def test_compression_and_a_length(capfd: pytest.CaptureFixture[str]) -> None:
    body = b"data: 1\n\n"
    response = http_answer(
        "200 OK", body, content_type="text/event-stream", connection="close", content_encoding="gzip"
    )
    with raw_server(response) as server:
        found = doctor(capfd, "--stream-url", server.url, "--wait", "1")
    problems = [line for line in found.lines if line.startswith("PROBLEM")]
    assert [line[9:].partition(":")[0] for line in problems][:2] == ["compression", "buffering"]


def test_a_password_or_a_token_in_the_address_of_a_stream_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    url = f"http://ada:secret@127.0.0.1:{free_port()}/x?access_token=secret"
    problem = doctor(capfd, "--stream-url", url).problem()
    assert "no connection" in problem
    assert "secret" not in problem


def test_headers_are_sent(capfd: pytest.CaptureFixture[str]) -> None:
    with raw_server(http_answer("403 Forbidden", connection="close")) as server:
        doctor(capfd, "--stream-url", server.url, "--header", "Cookie: session=1", "--header", "X-A:b")
    assert b"\r\nCookie: session=1\r\n" in server.requests[0]
    assert b"\r\nX-A: b\r\n" in server.requests[0]


@pytest.mark.parametrize("arguments", [["--header", "x"], ["--wait", "0"], ["--wait", "x"], ["--header", "a:\nb"]])
def test_wrong_arguments(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *arguments])
    assert caught.value.code == 2
    assert "expected" in capfd.readouterr().err
