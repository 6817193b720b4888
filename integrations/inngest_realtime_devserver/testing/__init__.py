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

import os
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
_SERVER = pytest.StashKey["DevServer"]()
_FIXTURE = "inngest_realtime_server"


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
    if any(_FIXTURE in getattr(item, "fixturenames", ()) for item in session.items):
        session.config.stash[_GUARD].install()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (guard := config.stash.get(_GUARD, None)) is not None:
        guard.remove()


# Not a fixture for each test: what an application makes once for all of them may ask for the server, too.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if (server := item.config.stash.get(_SERVER, None)) is not None:
        server.reset()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    pytest_runtest_setup(item)


@pytest.fixture(scope="session")
def inngest_realtime_server(pytestconfig: pytest.Config) -> Iterator[DevServer]:
    """A running `DevServer`, as new for each test. Pass its `url` as `api_base_url`. `published` says what the test
    published; `stats`, `publish_sync`, `drop_connections`, `reject_tokens` and the other methods of `DevServer` say
    what happened, and let happen what an application has to survive."""
    from .. import DevServer

    pytestconfig.stash[_GUARD].install()
    with DevServer().in_thread() as server, pytest.MonkeyPatch.context() as patch:
        # A shell may name a proxy, which would take loopback addresses for its own.
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, f"{os.environ.get(name, '')},127.0.0.1".lstrip(","))
        pytestconfig.stash[_SERVER] = server
        yield server
        del pytestconfig.stash[_SERVER]


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
