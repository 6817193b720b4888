"""The page for those who know the TypeScript SDK has every word that its declarations have for realtime."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import MODULES

PAGE = Path(__file__).parent.parent.parent / "docs" / "typescript.md"


def test_every_option_and_value_of_the_hook() -> None:
    declared = MODULES / "inngest" / "react.d.ts"
    if not declared.exists():
        pytest.skip("The packages of package.json are not installed: python -m nox -s interop")
    text = declared.read_text()
    # The members of its options and of what it gives, nested ones included.
    blocks = re.findall(r"(?:interface|type) UseRealtime\w*<?[^{]*\{(.*?)\n\}", text, re.DOTALL)
    members = {name for block in blocks for name in re.findall(r"^\s+(\w+)\??:", block, re.MULTILINE)}
    assert {"enabled", "historyLimit", "runStatus", "delta", "pauseOnHidden"} <= members
    page = PAGE.read_text()
    assert sorted(name for name in members if not re.search(rf"\b{name}\b", page)) == []
