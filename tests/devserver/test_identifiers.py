from __future__ import annotations

import re

import pytest

from inngest_realtime_devserver.identifiers import new_stream_id, new_ulid, parse_ulid


def test_new_ulids_are_valid_and_differ() -> None:
    ulids = {new_ulid() for _ in range(100)}
    assert len(ulids) == 100
    assert all(parse_ulid(ulid) == ulid for ulid in ulids)


@pytest.mark.parametrize(
    ("text", "ulid"),
    [
        ("01JABCDEFGHJKMNPQRSTVWXYZ0", "01JABCDEFGHJKMNPQRSTVWXYZ0"),
        ("01jabcdefghjkmnpqrstvwxyz0", "01JABCDEFGHJKMNPQRSTVWXYZ0"),
        ("", None),
        ("01JABCDEFGHJKMNPQRSTVWXYZ", None),
        ("81JABCDEFGHJKMNPQRSTVWXYZ0", None),
        ("01JABCDEFGHJKMNPQRSTVWXYZI", "01JABCDEFGHJKMNPQRSTVWXYZZ"),
        ("0" * 26, None),
        ("é" * 26, None),
    ],
)
def test_parse_ulid(text: str, ulid: str | None) -> None:
    assert parse_ulid(text) == ulid


def test_stream_ids_are_short_and_in_base_36() -> None:
    ids = {new_stream_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-z]{1,13}", each) for each in ids)
