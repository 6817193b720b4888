"""What a stranger can cause through the endpoints of every framework, over real servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from conformance.client import PREFIX, Client
from conformance.servers import RunningServer, ServerCase, gunicorn, running
from conformance.test_endpoint_errors import check
from inngest_realtime_devserver.server import DevServer

MIB = 2**20
SIGNING_KEY = "signkey-prod-" + "ab" * 32


# -- before anybody is authorized -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_forty_mebibytes_of_topics(server: RunningServer, client: Client, chunked: bool) -> None:
    process = psutil.Process((await client.stats())["pid"])
    before = process.memory_info().rss
    latencies: list[float] = []
    sizes = [before]
    ended = asyncio.Event()

    async def look() -> None:
        async with Client(server.url) as other:
            while not ended.is_set():
                began = time.monotonic()
                await other.stats()
                latencies.append(time.monotonic() - began)
                sizes.append(process.memory_info().rss)
                await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    answer = await asyncio.to_thread(_send_body, server.url, 40 * MIB, chunked)
    ended.set()
    await looking
    # Django's WSGI requests have no body without a length; some servers close while it is still being sent.
    assert answer.startswith(b"HTTP/1.1 413 ") or (chunked and (answer == b"" or b" 200 OK" in answer[:20])), answer[
        :200
    ]
    assert max(latencies) < 5  # 13 and more were seen
    assert max(sizes) - before < 24 * MIB
    assert (await client.get("news/token")).status_code == 200


def _send_body(url: str, size: int, chunked: bool) -> bytes:
    """Sends a body for as long as the server takes it, and returns the beginning of its answer."""
    address = httpx.URL(url)
    part = b'{"topics":[' + b'"tokens",' * 100_000
    header = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    with socket.create_connection((address.host, address.port), 20) as peer:
        peer.sendall(
            f"POST {PREFIX}/pipeline/token?runId=a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            f"{header}\r\n\r\n".encode()
        )
        sent = 0
        with contextlib.suppress(OSError):
            while sent < size:
                piece = part[: size - sent]
                peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
            if chunked:
                peer.sendall(b"0\r\n\r\n")
        with contextlib.suppress(OSError):
            return peer.recv(4096)
    return b""


async def test_names_that_are_too_long_open_nothing(client: Client, run_id: str) -> None:
    before = await client.stats()
    for endpoint in ("token", "stream"):
        response = await client.get(f"pipeline/{endpoint}", runId=run_id + "x" * 600)
        check(response, 422, "invalid_parameter", "runId")
        # gunicorn itself takes no line of that length.
        response = await client.get(f"pipeline/{endpoint}", runId=run_id + "x" * 12_000)
        assert response.status_code in (400, 414, 422)
        many = [("topics", f"t{number}") for number in range(300)]
        response = await client.http.get(f"{PREFIX}/pipeline/{endpoint}", params=[("runId", run_id), *many])
        check(response, 400, "too_many_parameters")
    after = await client.stats()
    assert (after["channels"], after["sockets"]) == (before["channels"], before["sockets"])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"a":' * 12_000, 400, "malformed_body"),
        (b"[" * 60_000, 400, "malformed_body"),
        (b'{"runId":"a","runId":"b"}', 400, "repeated_parameter"),
        (b'{"runId":"a","topics":["status"],"topics":["tokens"]}', 400, "repeated_parameter"),
        (b'{"runId":' + b"9" * 5_000 + b"}", 400, "malformed_body"),
        (b'{"runId":"\\ud800"}', 400, "malformed_body"),
        (b'{"runId":NaN}', 400, "malformed_body"),
        (b'{"runId":"\xff"}', 400, "malformed_body"),
        (b'{"topics":["' + b'tokens","' * 6_000 + b'tokens"],"runId":"a"}', 400, "too_many_parameters"),
    ],
    ids=["objects", "lists", "twice", "topics twice", "digits", "surrogate", "nan", "bytes", "topics"],
)
async def test_bodies_that_are_no_parameters(client: Client, body: bytes, status: int, code: str) -> None:
    response: httpx.Response = await client.post("pipeline/token", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_a_form_without_a_boundary(client: Client) -> None:
    """Django answered with a page of its own."""
    headers = {"content-type": "multipart/form-data"}
    response = await client.http.post(f"{PREFIX}/pipeline/token", content=b"--X\r\n\r\n--X--\r\n", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] in ("malformed_body", "unknown_parameter")


async def test_bodies_that_have_no_end(server: RunningServer, client: Client) -> None:
    """A client that leaves in the middle of its body costs no traceback, and one that waits holds up nobody."""
    address = httpx.URL(server.url)
    before = len(server.log.splitlines())
    waiting: list[socket.socket] = []
    try:
        for number in range(40):
            peer = socket.create_connection((address.host, address.port), 20)
            head = f"POST {PREFIX}/pipeline/token?runId=a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            peer.sendall(f'{head}Content-Length: 500\r\n\r\n{{"topics":'.encode())
            waiting.append(peer)
            if number % 2:
                peer.close()
        for _ in range(5):
            began = time.monotonic()
            assert (await client.get("news/token")).status_code == 200
            assert time.monotonic() - began < 5
    finally:
        for peer in waiting:
            peer.close()
    assert (await client.get("news/token")).status_code == 200
    lines = [line for line in server.log.splitlines()[before:] if "HTTP/1.1" not in line]
    assert len(lines) < 40, "\n".join(lines)
    assert "Traceback" not in server.log


@pytest.mark.timeout(120)
async def test_bodies_that_trickle(case: ServerCase, inngest: DevServer) -> None:
    """They are waited for, but not for ever, and not at all by a server that is to stop."""
    if not case.notices_disconnects or case.name.startswith("django"):
        pytest.skip("the server's thread, or Django before it calls a view, reads the body")
    head = f"POST {PREFIX}/pipeline/token?runId=a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with running(case, inngest.url) as server, contextlib.ExitStack() as peers:
        address = httpx.URL(server.url)

        def begin(rest: str) -> socket.socket:
            peer = peers.enter_context(socket.create_connection((address.host, address.port), 30))
            peer.sendall(f"{head}{rest}".encode())
            return peer

        slow = [begin('Content-Length: 500\r\n\r\n{"topics":'), begin("Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")]
        began = time.monotonic()
        for peer in slow:
            answer = await asyncio.to_thread(peer.recv, 4096)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert 9 < time.monotonic() - began < 18
        for _ in range(3):
            begin("Content-Length: 500\r\n\r\n{")
        async with Client(server.url) as client:
            assert (await client.get("news/token")).status_code == 200
        assert await asyncio.to_thread(server.stop, timeout=15) < case.stops_within + 1
        assert "Traceback" not in server.log


# -- one client among many --------------------------------------------------------------------------------------------


async def test_the_streams_of_one_client(client: Client, run_id: str) -> None:
    """32 by default; others are not affected, and one that ends makes room."""
    headers = {"x-client": run_id}
    async with contextlib.AsyncExitStack() as streams:
        for _ in range(32):
            await streams.enter_async_context(client.stream("pipeline/stream", runId=run_id, headers=headers))
        response = await client.get("pipeline/stream", runId=run_id, headers=headers)
        check(response, 429, "too_many_streams_per_client")
        assert int(response.headers["retry-after"]) > 0
        async with client.stream("pipeline/stream", runId=run_id, headers={"x-client": f"{run_id}-other"}):
            pass
        assert (await client.get("pipeline/token", runId=run_id, headers=headers)).status_code == 200


@pytest.fixture(scope="module")
def signed(case: ServerCase) -> Iterator[DevServer]:
    with DevServer(signing_key=SIGNING_KEY).in_thread() as server:
        yield server


@contextlib.contextmanager
def sparing(case: ServerCase, inngest: DevServer) -> Iterator[RunningServer]:
    """A server that gives one client five new things, and no more for as long as a test lasts."""
    options = {"CONFORMANCE_RATE_PER_CLIENT": "0.001", "CONFORMANCE_BURST_PER_CLIENT": "5"}
    with running(case, inngest.url, INNGEST_SIGNING_KEY=SIGNING_KEY, **options) as server:
        yield server


async def test_new_channels_and_streams_that_return(case: ServerCase, signed: DevServer, run_id: str) -> None:
    """What is new is limited for each client; a stream that returns never is, also by another process."""
    headers = {"x-client": run_id}

    async def refused(client: Client, path: str, **parameters: str) -> None:
        event_id = parameters.pop("event_id", "")
        asked = {**headers, "last-event-id": event_id} if event_id else headers
        response = await client.get(path, headers=asked, **parameters)
        check(response, 429, "too_many_requests")
        assert int(response.headers["retry-after"]) > 0

    with sparing(case, signed) as server:
        async with Client(server.url) as client:
            # Tokens and streams together.
            for _ in range(4):
                assert (await client.get("news/token", headers=headers)).status_code == 200
            async with client.stream("pipeline/stream", runId=run_id, headers=headers) as stream:
                event_id = (await stream.next_block()).id
                await refused(client, "news/token")
                await refused(client, "pipeline/stream", runId=f"{run_id}-new")
                # A channel that is open here already is not new.
                async with client.stream("pipeline/stream", runId=run_id, headers=headers):
                    pass
            # Others are not affected.
            async with client.stream("pipeline/stream", runId=f"{run_id}-b", headers={"x-client": f"{run_id}-b"}):
                pass
    assert event_id is not None
    with sparing(case, signed) as server:
        async with Client(server.url) as client:
            for _ in range(5):
                assert (await client.get("news/token", headers=headers)).status_code == 200
            await refused(client, "pipeline/stream", runId=f"{run_id}-new")
            forged = event_id[:-2] + ("AA" if event_id[-2:] != "AA" else "BB")
            await refused(client, "pipeline/stream", runId=run_id, event_id=forged)
            await refused(client, "pipeline/stream", runId=run_id, lastEventId=forged)
            # An id is of one channel.
            await refused(client, "pipeline/stream", runId=f"{run_id}-other", event_id=event_id)
            returning = {**headers, "last-event-id": event_id}
            async with client.stream("pipeline/stream", runId=run_id, headers=returning) as stream:
                assert (await stream.next_block()).event is not None


async def test_more_streams_than_a_process_has(case: ServerCase, inngest: DevServer, run_id: str) -> None:
    with running(case, inngest.url, CONFORMANCE_MAX_STREAMS="3") as server:
        async with Client(server.url) as client, contextlib.AsyncExitStack() as streams:
            for number in range(3):
                await streams.enter_async_context(client.stream("pipeline/stream", runId=f"{run_id}{number}"))
            response = await client.get("pipeline/stream", runId=run_id)
            check(response, 503, "too_many_streams")
            assert int(response.headers["retry-after"]) > 0
            # Neither authorized nor opened is what has no slot, and no slot is lost by endpoint errors.
            for _ in range(20):
                assert (await client.get("pipeline/stream", runId=run_id)).status_code == 503
            assert (await client.stats())["endpoint_streams"] == 3


# -- an Inngest that fails --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _black_hole() -> Iterator[str]:
    """The address of something that takes connections and answers nothing."""
    ended = threading.Event()
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    taken.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
            for peer in taken:
                peer.close()


@pytest.mark.timeout(240)
async def test_an_inngest_that_stalls(case: ServerCase, run_id: str) -> None:
    """Other pages stay as quick as they were, whoever waits is told in time, and the server can stop."""

    async def pages(client: Client, seconds: float) -> list[float]:
        took: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            await client.stats()
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
        return took

    async def timed(client: Client, path: str, run: str) -> tuple[float, httpx.Response]:
        began = time.monotonic()
        response = await client.http.get(f"{PREFIX}/{path}", params={"runId": run}, timeout=40)
        return time.monotonic() - began, response

    with _black_hole() as url, running(case, url) as server:
        async with Client(server.url) as client:
            usual = statistics.median(await pages(client, 1))
            asking = [
                asyncio.create_task(timed(client, "pipeline/stream", f"{run_id}-stream-{number}"))
                for number in range(2)
            ]
            browsing = asyncio.create_task(pages(client, 6))
            for number in range(30):  # five a second
                asking.append(asyncio.create_task(timed(client, "pipeline/token", f"{run_id}-{number}")))
                if number in (10, 20):  # while the first are being connected
                    asking.append(asyncio.create_task(timed(client, "pipeline/stream", f"{run_id}-late-{number}")))
                await asyncio.sleep(0.2)
            stalled = statistics.median(await browsing)
            assert stalled < 3 * usual + 0.05, (usual, stalled)
            answers = await asyncio.gather(*asking)
            print(
                f"{case.name}: p50 {usual * 1e3:.1f} -> {stalled * 1e3:.1f} ms, last {max(a[0] for a in answers):.1f} s"
            )
            for took, response in answers:
                assert took < 18  # ten seconds, and what a busy machine adds to them; 29 were seen
                assert response.status_code == 503
                assert int(response.headers["retry-after"]) > 0
            # By now it is known: nobody waits for it any more.
            quick = [await timed(client, "pipeline/token", f"{run_id}-later-{number}") for number in range(5)]
            assert sum(took < 1 for took, _ in quick) >= 4
            # One in two seconds is let through, and does not keep the server from stopping.
            await asyncio.sleep(2.2)
            trial = asyncio.create_task(timed(client, "pipeline/token", f"{run_id}-trial"))
            await asyncio.sleep(0.3)
            took = await asyncio.to_thread(server.stop, timeout=15)
            assert took < case.stops_within + 1
            with contextlib.suppress(httpx.HTTPError):
                await trial


@pytest.mark.timeout(120)
async def test_threads_that_wait_for_an_inngest_that_stalls(run_id: str) -> None:
    """As many threads as the documentation says, as many streams as there may be, and tokens at 20 a second."""
    threaded = gunicorn("conformance.apps.flask:app", "--worker-class", "gthread", "--threads", "32")
    with _black_hole() as url, running(ServerCase("threads", threaded), url) as server:
        async with Client(server.url) as client:

            async def ask(path: str, run: str) -> int:
                parameters = {"runId": f"{run_id}-{run}"}
                return (await client.http.get(f"{PREFIX}/{path}", params=parameters, timeout=60)).status_code

            asking = [asyncio.create_task(ask("pipeline/stream", f"stream-{number}")) for number in range(16)]
            browsing: list[asyncio.Task[None]] = []
            took: list[float] = []

            async def page() -> None:
                began = time.monotonic()
                await client.http.get("/stats", timeout=60)
                took.append(time.monotonic() - began)

            for number in range(160):  # whether they are answered or not
                asking.append(asyncio.create_task(ask("pipeline/token", str(number))))
                browsing.append(asyncio.create_task(page()))
                await asyncio.sleep(0.05)
            await asyncio.gather(*browsing)
            assert set(await asyncio.gather(*asking)) == {503}
            # Seconds were seen.
            assert statistics.median(took) < 0.1, took


async def test_what_failures_cost_of_the_log(case: ServerCase, run_id: str) -> None:
    """A page that is opened while Inngest is down cost 114 lines."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        with running(case, f"http://127.0.0.1:{closed.getsockname()[1]}") as server:
            async with Client(server.url) as client:
                before = len(server.log.splitlines())
                for start in range(0, 60, 10):
                    pages = [f"{run_id}{number}" for number in range(start, start + 10)]
                    asked = [
                        client.get(f"pipeline/{what}", runId=page) for page in pages for what in ("token", "stream")
                    ]
                    assert {response.status_code for response in await asyncio.gather(*asked)} == {503}
                lines = [line for line in server.log.splitlines()[before:] if "HTTP/1.1" not in line]
    assert "Traceback" not in "\n".join(lines)
    assert len(lines) < 40, "\n".join(lines)
