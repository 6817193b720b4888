"""The fenced code blocks of a Markdown page."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks_of"]

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^( *)```([\w+-]*)([^\n]*)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        language: What stands behind the backticks.
        title: The file that it is, or an empty text.
        code: Its text, without the indentation of the page.
        line: Where it begins in the page.
    """

    language: str
    title: str
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match[3])
        code = textwrap.dedent(match[4])
        named = re.match(r"# ([\w/]+\.py)\n", code) if match[2] == "python" else None
        name = title[1] if title else named[1] if named else ""
        found.append(Block(match[2], name, code, text.count("\n", 0, match.start()) + 1))
    return found
