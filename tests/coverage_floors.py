"""Whether the tests reach what they are to reach: `python tests/coverage_floors.py`, after `pytest --cov`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CORE = "inngest_realtime_core/"
CORE_FLOOR = 92.0  # per cent of lines and branches of the core
FILE_FLOOR = 80.0  # of each of its files


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "coverage.json")
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    core = {name: file["summary"] for name, file in files.items() if CORE in name}
    covered = sum(summary["covered_lines"] + summary["covered_branches"] for summary in core.values())
    total = sum(summary["num_statements"] + summary["num_branches"] for summary in core.values())
    share = 100 * covered / total
    shares = {name: summary["percent_covered"] for name, summary in core.items()}
    low = {name: percent for name, percent in shares.items() if percent < FILE_FLOOR}
    print(f"Coverage of the core: {share:.1f} % of {total} lines and branches; at least {CORE_FLOOR} is expected.")
    for name, percent in sorted(low.items(), key=lambda item: item[1]):
        print(f"  {name}: {percent:.1f} %; at least {FILE_FLOOR} is expected.")
    return 0 if share >= CORE_FLOOR and not low else 1


if __name__ == "__main__":
    sys.exit(main())
