"""The adapters, and what belongs to each: read from `pyproject.toml`, so that no test keeps a list of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["ADAPTERS", "EXTRAS", "PACKAGES", "ROOT", "frameworks_of", "strings"]

ROOT = Path(__file__).parent.parent
_PYPROJECT = (ROOT / "pyproject.toml").read_text()


def strings(key: str, text: str = _PYPROJECT) -> list[str]:
    """The list of strings that a key of `pyproject.toml` holds; `tomllib` is not there before Python 3.11."""
    (found,) = re.findall(rf"^{re.escape(key)} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    listed: list[str] = [json.loads(name) for name in re.findall(r'"[^"]*"', found)]
    return listed


def table(name: str) -> str:
    """The text of a table of `pyproject.toml`."""
    (found,) = re.findall(rf"^\[{re.escape(name)}\]\n(.*?)(?=^\[)", _PYPROJECT, re.MULTILINE | re.DOTALL)
    return str(found)


ADAPTERS = strings("adapters")
"""Their names, which are also their extras."""

PACKAGES = (
    "inngest_realtime_core",
    *sorted(path.parent.name for path in (ROOT / "integrations").glob("*/__init__.py")),
)
"""Every package of the distribution."""

EXTRAS = re.findall(r"^(\w+) = \[", table("project.optional-dependencies"), re.MULTILINE)


def frameworks_of(adapter: str) -> list[str]:
    """The top-level modules of what an adapter needs to be installed."""
    requirements = strings(adapter, table("project.optional-dependencies"))
    return [Requirement(requirement).name.replace("-", "_").lower() for requirement in requirements]
