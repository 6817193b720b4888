"""A hook of MkDocs: a folder in the navigation stands for its pages, so that a new one need not be listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return [_expanded(item, docs) for item in entry]
    if isinstance(entry, dict):
        return {title: _expanded(item, docs) for title, item in entry.items()}
    if isinstance(entry, str) and entry.endswith("/"):
        return [f"{entry}{page.name}" for page in sorted((docs / entry).glob("*.md"))]
    return entry
