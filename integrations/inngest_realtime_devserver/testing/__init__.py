"""pytest fixtures and helpers for the tests of applications, on the embedded Inngest Realtime server.

Needs pytest and the extra `devserver`. pytest finds the plugin by itself, so a test only asks for a fixture, be it
sync or async:

    def test_progress_is_published(inngest_realtime_server):
        with shop.realtime.override(api_base_url=inngest_realtime_server.url):
            run_pipeline("r1")                     # the application's code, which publishes
        (message,) = inngest_realtime_server.published(Pipeline(run_id="r1"), "status")
        assert message.data.message == "Starting"

The server runs on a thread of its own, so the code under test may block or run an event loop of any kind. One server
serves the whole session; what it recorded and counted, and every fault, is reset for each test.

While a run has tests that use these fixtures, an address of Inngest that is not on this machine is refused: a signing
key in the shell never takes a test to production. The ini option `inngest_realtime_allow` lists hosts that may be
called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .events import Event, parse_events
from .guard import AddressGuard
from .receiving import receive, receive_sync
from .streams import EventStream, SyncEventStream, event_stream, event_stream_sync

# Nothing of the server or the core is imported before a test needs it: what is loaded with pytest is not measured by
# tools such as pytest-cov, which begin later.
if TYPE_CHECKING:
    from inngest_realtime_core.realtime import Realtime

    from ..server import DevServer

__all__ = [
    "Event",
    "EventStream",
    "SyncEventStream",
    "event_stream",
    "event_stream_sync",
    "inngest_realtime",
    "inngest_realtime_env",
    "inngest_realtime_server",
    "parse_events",
    "receive",
    "receive_sync",
]

_VARIABLES = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_ENV", "INNGEST_SIGNING_KEY_FALLBACK")
_GUARD = pytest.StashKey[AddressGuard]()
_SERVER = "_inngest_realtime_session_server"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "inngest_realtime_allow",
        "hosts of Inngest beyond this machine that tests may call although they use the embedded server",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_GUARD] = AddressGuard(config.getini("inngest_realtime_allow"))


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(_SERVER in getattr(item, "fixturenames", ()) for item in session.items):
        session.config.stash[_GUARD].install()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (guard := config.stash.get(_GUARD, None)) is not None:
        guard.remove()


@pytest.fixture(scope="session")
def _inngest_realtime_session_server(pytestconfig: pytest.Config) -> Iterator[DevServer]:  # pyright: ignore[reportUnusedFunction]
    from .. import DevServer

    pytestconfig.stash[_GUARD].install()
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def inngest_realtime_server(_inngest_realtime_session_server: DevServer) -> Iterator[DevServer]:
    """A running `DevServer`, as new. Pass its `url` as `api_base_url`. `published` says what the test published;
    `stats`, `publish_sync`, `drop_connections`, `reject_tokens` and the other methods of `DevServer` say what
    happened, and let happen what an application has to survive."""
    _inngest_realtime_session_server.reset()
    yield _inngest_realtime_session_server
    _inngest_realtime_session_server.reset()


@pytest.fixture
def inngest_realtime(inngest_realtime_server: DevServer) -> Iterator[Realtime]:
    """A `Realtime` on the server. At the test's end all that it has open is closed, on whichever loop it was opened."""
    from .closing import TestRealtime

    realtime = TestRealtime(api_base_url=inngest_realtime_server.url, linger=0)
    yield realtime
    realtime.close_everywhere()


@pytest.fixture
def inngest_realtime_env(inngest_realtime_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> DevServer:
    """The same server, with the environment set for the test so that `Realtime()` and `inngest.Inngest` find it."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INNGEST_DEV", inngest_realtime_server.url)
    return inngest_realtime_server
