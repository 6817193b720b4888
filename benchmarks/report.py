"""A measured figure beside its target, and the table that it is printed in."""

from __future__ import annotations

import platform
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

__all__ = ["Figure", "at_least", "at_most", "environment", "only", "spread", "table", "with_table"]


@dataclass(frozen=True)
class Figure:
    """One row of a report.

    Attributes:
        name: What was measured.
        measured: With its unit.
        target: What it should be; empty when there is no target.
        passed: Whether the target holds; None when there is none.
        note: How it came about, in a few words.
    """

    name: str
    measured: str
    target: str = ""
    passed: bool | None = None
    note: str = ""


def at_least(name: str, value: float, target: float, unit: str = "x", note: str = "") -> Figure:
    return Figure(name, _with_unit(value, unit), f">= {_with_unit(target, unit)}", value >= target, note)


def at_most(name: str, value: float, target: float, unit: str = "x", note: str = "") -> Figure:
    return Figure(name, _with_unit(value, unit), f"<= {_with_unit(target, unit)}", value <= target, note)


def only(name: str, value: float, unit: str, note: str = "") -> Figure:
    """A figure without a target."""
    return Figure(name, _with_unit(value, unit), note=note)


def _with_unit(value: float, unit: str) -> str:
    digits = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"
    if unit == "x":
        digits = f"{value:.2f}"
    return f"{digits}{unit}" if unit in {"x", ""} else f"{digits} {unit}"


def spread(values: Sequence[float]) -> str:
    """The lowest and highest of some values, beside their median."""
    return f"median {statistics.median(values):,.0f}, {min(values):,.0f} to {max(values):,.0f}"


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table that is also readable in a terminal."""
    header = ("what", "target", "measured", "", "how")
    rows = [
        (
            figure.name,
            figure.target,
            figure.measured,
            {True: "pass", False: "FAIL", None: ""}[figure.passed],
            figure.note,
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (header, *rows)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def environment(*packages: str) -> str:
    """The Python and the versions that were measured."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, {versions}"


def with_table(page: str, name: str, table: str, measured: str) -> str:
    """The page with this table in the section of the benchmark, and when and on what it was measured above it."""
    found = re.search(rf"^## [^\n]*\(`{re.escape(name)}`\)\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{page.rstrip()}\n\n## {name.capitalize()} (`{name}`)\n\n{measured}\n\n{table}\n"
    old = re.compile(r"(?:^Measured on .*\n\n)?^\|.*(?:\n\|.*)*", re.MULTILINE)
    section = old.sub(lambda _: f"{measured}\n\n{table}", found[0], count=1)
    return page[: found.start()] + section + page[found.end() :]
