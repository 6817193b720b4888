"""The servers that the suite runs against: one `ServerCase` each, started as a process of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from ports import free_port

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
CHECKOUT = [str(path) for path in (ROOT, ROOT / "integrations", ROOT / "examples" / "adapters", TESTS)]
START_TIMEOUT = 90.0  # seconds; four start at once, on a machine with two processors


def uvicorn(app: str, *arguments: str) -> Callable[[int, int], list[str]]:
    """The command of an ASGI application under uvicorn, for a port and a number of workers."""

    def command(port: int, workers: int) -> list[str]:
        extra = ["--workers", str(workers)] if workers > 1 else []
        address = ["--host", "127.0.0.1", "--port", str(port)]
        return [sys.executable, "-m", "uvicorn", app, *address, "--log-level", "info", *extra, *arguments]

    return command


def gunicorn(app: str, *arguments: str) -> Callable[[int, int], list[str]]:
    """The command of a WSGI application under gunicorn, with threads unless the arguments name another worker."""

    def command(port: int, workers: int) -> list[str]:
        address = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
        threads = [] if "--worker-class" in arguments else ["--worker-class", "gthread", "--threads", "64"]
        # It kills workers that have not run for so many seconds, also after the whole machine has stood still.
        patience = ["--timeout", "300"]
        return [sys.executable, "-m", "gunicorn", app, *address, *patience, *threads, *arguments]

    return command


@dataclass(frozen=True)
class ServerCase:
    """One framework under one server.

    Attributes:
        name: The test id.
        command: Makes the command line from a port and a number of workers.
        notices_disconnects: Whether a client that leaves is noticed at once; else at the next heartbeat, when the
            server writes.
        frees_streams: Whether a stream ends soon after its client has left.
        reads_bodies_whole: Whether the framework reads a body to its end before it hands the request on.
        interrupts_functions: Whether a synchronous `authorize` that hangs is given up after `authorize_timeout`.
        stops_within: Seconds that the server may take to stop although streams are open.
        environment: Variables that the process needs besides the suite's own.
    """

    name: str
    command: Callable[[int, int], list[str]]
    notices_disconnects: bool = True
    frees_streams: bool = True
    reads_bodies_whole: bool = False
    interrupts_functions: bool = True
    stops_within: float = 2.0
    environment: Mapping[str, str] | None = None


# Without an event loop nobody can stop waiting for a function.
_SYNC = {"notices_disconnects": False, "interrupts_functions": False}
# After SIGTERM gunicorn's threaded worker keeps idle connections open for 2 s, whatever they were used for; its gevent
# worker does so too, and looks whether it may stop only once a second.
_THREADED = {**_SYNC, "stops_within": 5.0}


def _major(distribution: str) -> int:
    """The first number of an installed version; 0 when it is not installed, and its cases are not selected either."""
    try:
        return int(version(distribution).partition(".")[0])
    except PackageNotFoundError:
        return 0


def _elsewhere(app: str, server: str) -> ServerCase:
    """The case of an application that is not among `CASES`.

    Args:
        server: `uvicorn`, `gunicorn`, or the command that serves it, with `{app}`, `{port}` and `{workers}` in it.
    """
    if server == "uvicorn":
        return ServerCase(f"{app}-{server}", uvicorn(app))
    if server == "gunicorn":
        return ServerCase(f"{app}-{server}", gunicorn(app), **_THREADED)

    def command(port: int, workers: int) -> list[str]:
        return [part.format(app=app, port=port, workers=workers) for part in shlex.split(server)]

    return ServerCase(app, command)


CASES = [
    ServerCase("starlette-uvicorn", uvicorn("conformance.apps.starlette:app")),
    ServerCase("fastapi-uvicorn", uvicorn("conformance.apps.fastapi:app")),
    ServerCase("litestar-uvicorn", uvicorn("conformance.apps.litestar:app")),
    # What `uvicorn[standard]` serves with.
    ServerCase(
        "starlette-uvicorn-standard",
        uvicorn("conformance.apps.starlette:app", "--loop", "uvloop", "--http", "httptools"),
    ),
    ServerCase(
        "django-uvicorn",
        uvicorn("conformance.apps.django:asgi", "--lifespan", "off"),
        # Before 5.0 Django does not notice under ASGI that a client has left: streams end after five minutes there.
        frees_streams=_major("django") >= 5,
        reads_bodies_whole=True,
    ),
    ServerCase("django-gunicorn", gunicorn("conformance.apps.django:wsgi"), **_THREADED),
    ServerCase("flask-gunicorn", gunicorn("conformance.apps.flask:app"), **_THREADED),
    ServerCase("flask-gunicorn-preload", gunicorn("conformance.apps.flask:app", "--preload"), **_THREADED),
    ServerCase(
        "flask-gevent",
        gunicorn("conformance.apps.flask:app", "--worker-class", "gevent"),
        **{**_SYNC, "stops_within": 6.0},
    ),
]
if "CONFORMANCE_APP" in os.environ:  # an application in place of all of these
    CASES = [_elsewhere(os.environ["CONFORMANCE_APP"], os.environ.get("CONFORMANCE_SERVER", "uvicorn"))]


class RunningServer:
    """A server process, its address, and what it has printed."""

    def __init__(self, case: ServerCase, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.case = case
        self.process = process
        self.url = url
        self._log = log

    @property
    def log(self) -> str:
        """Everything that the process and its workers have printed."""
        return self._log.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout: float = 10.0) -> float:
        """Sends the signal, waits for the end, and returns the seconds that it took.

        Raises:
            TimeoutExpired: The process was still running after `timeout` seconds.
        """
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout)
        return time.monotonic() - began


@contextlib.contextmanager
def running(case: ServerCase, inngest_url: str, *, workers: int = 1, **variables: str) -> Iterator[RunningServer]:
    """Starts the case's server, waits until it answers, and ends it with the block."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
    environment |= {
        # The checkout that is tested, whatever is installed; and where the application of `CONFORMANCE_APP` may be.
        "PYTHONPATH": os.pathsep.join([*CHECKOUT, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "INNGEST_DEV": inngest_url,
        **(case.environment or {}),
        **variables,
    }
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                case.command(port, workers), env=environment, cwd=TESTS, stdout=output, stderr=subprocess.STDOUT
            )
        server = RunningServer(case, process, f"http://127.0.0.1:{port}", log)
        try:
            _wait_until_up(server)
            yield server
        except BaseException:
            print(f"log of {case.name}:\n{server.log[-20_000:]}")  # pytest shows it with the test that fails
            raise
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait_until_up(server: RunningServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    with httpx.Client(trust_env=False, timeout=2) as client:
        while True:
            try:
                if client.get(f"{server.url}/stats").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{server.case.name} did not start. It printed:\n{server.log}")
            time.sleep(0.02)
