"""`python -m benchmarks [names...] [--json FILE] [--update]`: run benchmarks, each in a process of its own, and print
tables; `--update` writes them into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .isolation import isolated
from .report import Figure, environment, table, with_table

PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
NAMES = (
    "throughput",
    "imports",
    "application",
    "fanout",
    "steady",
    "capacity",
    "latency",
    "shutdown",
    "endings",
    "batch",
    "resume",
    "identity",
    "record",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one or more of: {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--update", action="store_true", help=f"put the tables into {PAGE.name}")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    machine = f"{environment('websockets', 'msgspec', 'pydantic')}, {os.cpu_count()} CPUs"
    print(f"{machine}\n", flush=True)
    results: dict[str, list[Figure]] = {}
    for name in options.names or NAMES:
        started = time.monotonic()
        results[name] = isolated(name)
        print(f"## {name} ({time.monotonic() - started:.0f} s)\n\n{table(results[name])}\n", flush=True)
        if options.update:
            measured = f"Measured on {time.strftime('%Y-%m-%d')}: {machine}."
            PAGE.write_text(with_table(PAGE.read_text(), name, table(results[name]), measured))
    if options.json is not None:
        document = {name: [dataclasses.asdict(figure) for figure in figures] for name, figures in results.items()}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    failed = [figure.name for figures in results.values() for figure in figures if figure.passed is False]
    if failed:
        print("Missed: " + "; ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
