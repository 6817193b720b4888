"""The reference by setting says what the code says: options and their defaults, variables, endpoints' events and codes,
metrics, limits. Public names are `test_exports`' and log events `test_log_events`'."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from inngest_realtime_core import GapReason, Grant, Kind, Realtime, Replay, State, Stats, subscribe
from inngest_realtime_core.endpoints import EndpointOptions
from inngest_realtime_otel import metrics, spans
from inngest_realtime_redis import RedisReplay

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REFERENCE = (DOCS / "reference.md").read_text()
SOURCES = sorted([*(ROOT / "inngest_realtime_core").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")])
NONE = inspect.Parameter.empty


def rows(heading: str, text: str = REFERENCE) -> list[list[str]]:
    """The cells of the table whose head begins with this."""
    (table,) = re.findall(rf"^\| {re.escape(heading)}.*\n\|---.*\n((?:\|.*(?:\n|\Z))+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip()[1:-1].split("|")] for row in table.splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def literals(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


@pytest.mark.parametrize(
    ("heading", "function"),
    [
        ("option of `Realtime`", Realtime.__init__),
        ("argument of `subscribe`", subscribe),
        ("argument of `Grant`", Grant.__init__),
        ("option of the endpoints", EndpointOptions.__init__),
    ],
)
def test_options_and_their_defaults(heading: str, function: Callable[..., Any]) -> None:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    listed = {names(name)[0]: names(default) for name, default, _ in rows(heading)}
    assert {name: [eval(text) for text in default] for name, default in listed.items()} == {
        name: [] if parameter.default is NONE else [parameter.default] for name, parameter in parameters.items()
    }


@pytest.mark.parametrize("function", [Replay, RedisReplay, Realtime.batch], ids=["Replay", "RedisReplay", "batch"])
def test_defaults_in_the_text(function: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    parameters = inspect.signature(function).parameters
    (written,) = {text for text in re.findall(rf"`{name}\(([^`]*=[^`]*)\)`", REFERENCE) if "//" not in text}
    call = ast.parse(f"f({written})", mode="eval").body
    assert isinstance(call, ast.Call)
    listed = {str(each.arg): eval(ast.unparse(each.value)) for each in call.keywords}
    assert listed
    assert listed == {each: parameters[each].default for each in listed}


def test_variables_of_the_environment() -> None:
    """What the code reads by name, its own spelling of the proxies' excepted, which httpx reads, too."""
    listed = {name for cells in rows("variable of the environment") for name in names(cells[0])}
    read: set[str] = set()
    for path in SOURCES:
        if "devserver" in path.parts[-2] or "testing" in path.parts:
            continue
        for text in re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|TERM)"', path.read_text()):
            if text.startswith(("INNGEST_", "RAILWAY_", "RENDER_", "VERCEL_", "NO_COLOR", "TERM")):
                read.add(text)
    settings = {name for name in read if name.startswith(("INNGEST_REALTIME", "INNGEST_API_ORIGIN"))}
    assert listed - {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} == read - settings


def test_codes_of_the_endpoints() -> None:
    found: set[tuple[str, str]] = set()
    for path in SOURCES:
        if "devserver" in str(path):
            continue
        for call in literals(path):
            match call.args[:2]:
                case [ast.Constant(value=int(status)), ast.Constant(value=str(code))] if 400 <= status < 600:
                    found.add((str(status), code))
    for status, code in {401: "unauthenticated", 403: "forbidden", 404: "not_found"}.items():
        found.add((str(status), code))
    found.add(("4xx, 5xx", "refused"))
    listed = {(cells[0], code) for cells in rows("status") for code in names(cells[1])}
    assert listed == found


def test_events_of_streams() -> None:
    sources = "".join(path.read_text() for path in SOURCES if "devserver" not in str(path))
    sent = set(re.findall(r"event: (\w+)\\n", sources))
    listed = {name for cells in rows("event of `get_event_stream()`") for name in names(cells[0])}
    assert listed == {"ready", "gap", "closing", "end"}
    assert {"ready", "closing", "end"} <= sent <= listed


def test_words() -> None:
    for kind, name in ((Kind, "Kind"), (GapReason, "GapReason"), (State, "State")):
        (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", REFERENCE, re.MULTILINE)
        assert set(re.findall(r'"([\w-]+)"', row)) == set(get_args(kind))


class _Numbers:
    """A `Realtime` of which every number is there."""

    def stats(self) -> Stats:
        fields = dict.fromkeys(Stats.__dataclass_fields__, 1)
        return Stats(**{**fields, "gaps_by_reason": {"a": 1}, "endpoint_errors": {"a": 1}, "last_error_type": "E"})  # type: ignore[arg-type]

    def health(self) -> Any:
        return type("Health", (), {"ok": True})()


def test_metrics_and_their_units() -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    metrics.StatsMetrics(_Numbers(), meters.get_meter("test"), "p", {})  # type: ignore[arg-type]
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name.removeprefix("p."): metric.unit
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    meters.shutdown()
    found |= {name: "s" for name, _ in spans._DURATIONS.values()}
    page = rows("metric, after", (DOCS / "observability.md").read_text())
    listed = {name: cells[1] for cells in page for name in names(cells[0])}
    assert listed == {name: "" if unit.startswith("{") else unit for name, unit in found.items()}


def test_each_number_of_stats_has_a_metric_or_is_named() -> None:
    """Nothing that `stats()` has is missing from OpenTelemetry, but sentences."""
    sources = (ROOT / "integrations" / "inngest_realtime_otel" / "metrics.py").read_text()
    histograms = {"publishes", "publish_errors", "token_requests", "token_errors", "subscribe_errors"}
    histograms |= {"publish_p50", "publish_max", "first_byte_p50", "first_byte_max"}
    sentences = {"last_error", "replay_error"}
    missing = {name for name in Stats.__dataclass_fields__ if not re.search(rf"stats\.{name}\b", sources)}
    assert missing - {"gaps"} == histograms | sentences
