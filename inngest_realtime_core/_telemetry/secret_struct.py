"""Structs that hold secrets, for error reports that show local variables."""

from __future__ import annotations

from typing import Any

import msgspec


class SecretStruct(msgspec.Struct, frozen=True):
    """A struct whose repr leaves out what is secret. Reports of `rich` show no field: they do not ask for the repr."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
