"""The table of limits in docs/security.md says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from inngest_realtime_core import Realtime, Replay
from inngest_realtime_core._api import http
from inngest_realtime_core._hub import hub, recall
from inngest_realtime_core._hub import options as hub_options
from inngest_realtime_core._replay import record
from inngest_realtime_core._telemetry import throttled_log
from inngest_realtime_core._upstream import protocol
from inngest_realtime_core.endpoints import authorize, bodies, endpoints, issuing, limits, options, parameters, wsgi
from inngest_realtime_core.endpoints.options import EndpointOptions
from inngest_realtime_core.messages import data_stream
from inngest_realtime_core.subscriptions import callbacks
from inngest_realtime_redis import store

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
MIB = 2**20


def rows() -> dict[str, list[str]]:
    """The cells of each row of the table, by what can be caused."""
    table = re.findall(r"^\|(.+)\|$", DOCUMENT.read_text().partition("## Limits")[2], re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in table]
    return {row[0]: row[1:] for row in cells[2:]}


def default(name: str) -> Any:
    """The default of an option, of the endpoints or of `Realtime`."""
    if name in (fields := {field.name: field.default for field in EndpointOptions.__dataclass_fields__.values()}):
        return fields[name]
    return inspect.signature(Realtime).parameters[name].default


def private(module: Any, name: str) -> Any:
    return getattr(module, name)


# What begins a row, and the numbers that it has to name, as the code has them.
SAYS: dict[str, list[object]] = {
    "size of a request's body": [default("max_body")],
    "how long a request's body": [int(private(endpoints, "_BODY_TIMEOUT"))],
    "number of parameters": [private(parameters, "_MAX_PARAMETERS")],
    "length of a parameter's value": [private(parameters, "_MAX_VALUE"), private(parameters, "_MAX_NAME")],
    "nesting of a body": [],
    "length of a channel's name": [default("max_channel_length")],
    "streams in a process": [default("max_streams"), wsgi.MAX_STREAMS],
    "streams of one client": [private(options, "_CLIENT_STREAMS")],
    "new channels or tokens of one client": [int(default("rate_per_client")), default("burst_per_client")],
    "token requests under way": [private(issuing, "_MAX_TOKENS"), private(issuing, "_MAX_THREADS")],
    "token requests while Inngest": [int(private(limits, "_PAUSE"))],
    "how long a request waits for Inngest": [int(private(bodies, "_OPEN_TIMEOUT"))],
    "how long `authorize` may take": [int(default("authorize_timeout")), private(authorize, "_MAX_LEFT_BEHIND")],
    "a client that does not read": [int(default("send_timeout"))],
    "messages that wait for one reader": [default("buffer_size"), f"{default('buffer_bytes') // MIB} MiB"],
    "errors that wait": [private(callbacks, "_MAX_PENDING_ERRORS")],
    "data streams that are open": [4],
    "all that waits in a process": [f"{default('total_buffer_bytes') // MIB} MiB"],
    "messages that come on a channel while": [
        f"{private(recall, '_MAX_HELD'):,}",
        f"{private(recall, '_MAX_HELD_BYTES') // MIB} MiB",
    ],
    "channels that are kept after": [int(default("linger")), private(hub, "_MAX_LINGERING")],
    "history of a channel": [
        Replay().size,
        int(Replay().max_age),
        f"{Replay().max_bytes // MIB} MiB",
        private(record, "_CHANNELS"),
        f"{private(record, '_BYTES') // MIB} MiB",
    ],
    "messages that wait to be written to Redis": [
        private(store, "_QUEUE"),
        f"{private(store, '_QUEUE_BYTES') // MIB} MiB",
    ],
    "size of a response of Inngest": [f"{private(http, '_MAX_BODY') // MIB} MiB"],
    "size of one message": [f"{protocol.MAX_SERVER_FRAME // MIB} MiB"],
    "nesting of a message": [protocol.MAX_DEPTH, protocol.MAX_DIGITS],
    "length of an event id": [200],
    "log lines of one cause": [int(private(throttled_log, "_LOG_INTERVAL"))],
}


def test_each_row_is_looked_at() -> None:
    for what in rows():
        assert any(what.startswith(beginning) for beginning in SAYS), what
    assert len(rows()) == len(SAYS)


@pytest.mark.parametrize("beginning", SAYS)
def test_a_row_names_the_defaults_of_the_code(beginning: str) -> None:
    (cells,) = [cells for what, cells in rows().items() if what.startswith(beginning)]
    for value in SAYS[beginning]:
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        assert re.search(rf"(?<![\d,]){re.escape(shown)}(?!\d|,\d)", cells[0]), (beginning, shown)


def test_what_changes_a_limit_exists() -> None:
    known = {*EndpointOptions.__dataclass_fields__, *inspect.signature(Realtime).parameters}
    known |= set(inspect.signature(Replay).parameters)
    for what, cells in rows().items():
        named = re.findall(r"(\w+)=", cells[2])
        assert named or cells[2] == "fixed", what
        assert set(named) <= known, what


def test_other_defaults_are_those_of_the_options() -> None:
    assert hub_options.HubOptions().total_buffer_bytes == default("total_buffer_bytes")
    assert hub_options.HubOptions().buffer_bytes == default("buffer_bytes")
    assert 4 * default("buffer_bytes") >= data_stream.MAX_BYTES


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
@pytest.mark.parametrize(
    "name", ["max_body", "max_channel_length", "burst_per_client", "rate_per_client", "max_streams"]
)
def test_a_limit_is_not_switched_off_by_accident(name: str, value: Any) -> None:
    with pytest.raises(Exception, match=name):
        EndpointOptions(client=lambda request: "a", **{name: value})
