"""Fills the table in docs/clients.md: `python tests/browser/fill.py RESULTS`, the file that `BROWSER_MATRIX` named."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "clients.md"
NAMES = {"client": "`client.js`", "sse": "`EventSource`", "hook": "`useRealtime`", "htmx2": "htmx 2", "htmx4": "htmx 4"}


def table(results: list[list[str]]) -> str:
    """A row for each client and property, a column for each server."""
    servers = list(dict.fromkeys(server for _, _, server, _ in results))
    cells = {(client, what, server): outcome for client, what, server, outcome in results}
    rows = sorted(
        dict.fromkeys((client, what) for client, what, _, _ in results), key=lambda row: [*NAMES].index(row[0])
    )
    lines = [f"| client | | {' | '.join(servers)} |", f"|---|---|{'---|' * len(servers)}"]
    for client, what in rows:
        outcomes = [cells.get((client, what, server), "") for server in servers]
        lines.append(f"| {NAMES[client]} | {what} | {' | '.join(outcomes)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    filled = table(json.loads(Path(sys.argv[1]).read_text()))
    text = re.sub(r"(<!-- matrix -->\n).*?(<!-- /matrix -->)", rf"\1\n{filled}\n\n\2", PAGE.read_text(), flags=re.S)
    PAGE.write_text(text)
