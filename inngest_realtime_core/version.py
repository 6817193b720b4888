"""The version of the distribution; that in `pyproject.toml` is the same."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
USER_AGENT: Final = f"inngest-realtime-python/{__version__}"
