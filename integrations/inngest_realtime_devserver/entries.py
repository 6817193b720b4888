"""The topics that token requests, claims and `unsub` frames name, read as leniently as Inngest reads them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from .identifiers import ENVIRONMENT_ID, is_ulid
from .loose_json import fold_keys

__all__ = ["MAX_ENTRIES", "TooManyEntriesError", "TopicEntry", "read_entries", "valid_identifiers"]


MAX_ENTRIES: Final = 50_000


class TooManyEntriesError(ValueError):
    """A list names more topics than the server looks at."""


class TopicEntry(NamedTuple):
    """One topic. Missing values are empty, as in Go."""

    kind: str = ""
    env_id: str = ""
    channel: str = ""
    name: str = ""

    @property
    def key(self) -> tuple[str, str] | None:
        """(channel, topic) when messages can reach this entry, which only those of kind "run" are, else None."""
        if self.kind != "run" or self.env_id.lower() != ENVIRONMENT_ID:
            return None
        return self.channel, self.name


def read_entries(value: object) -> list[TopicEntry] | None:
    """The entries of a JSON list; None for null.

    Raises:
        ValueError: It is not a list of topics.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError("not a list")
    items = cast("list[object]", value)
    if len(items) > MAX_ENTRIES:
        raise TooManyEntriesError
    return [_read(item) for item in items]


def valid_identifiers(fields: Mapping[str, Any]) -> bool:
    """Whether `env_id` and `run_id`, where they are given, are a UUID and a ULID."""
    environment, run = fields.get("env_id"), fields.get("run_id")
    if environment is not None:
        try:
            uuid.UUID(environment)
        except (ValueError, AttributeError, TypeError):
            return False
    return run is None or (isinstance(run, str) and is_ulid(run))


def _read(item: object) -> TopicEntry:
    if item is None:
        return TopicEntry()
    if not isinstance(item, dict):
        raise ValueError("not an object")
    fields = fold_keys(cast("dict[str, Any]", item))
    if not valid_identifiers(fields):
        raise ValueError("not an identifier")
    values = {name: fields[name] for name in TopicEntry._fields if fields.get(name) is not None}
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("not a text")
    return TopicEntry(**values)
