"""The ids of published messages: unique, also after a fork, and read from metadata of any kind."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_realtime_core._api.ids import new_id
from inngest_realtime_core._api.payload import encode_metadata
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import Message
from wire import decoded, frame, message_of

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


def with_metadata(metadata: object, *, kind: str = "data") -> Envelope:
    document = json.loads(frame("s", kind=kind))
    (envelope,) = decoded(json.dumps({**document, "metadata": metadata}).encode())
    return envelope


def test_ids_made_by_several_threads_differ() -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: new_id(), range(2_000)))
    assert len(set(ids)) == 2_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_ids_made_after_a_fork_differ() -> None:
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    here = new_id()
    os.waitpid(child, 0)
    there = os.read(reading, 300).decode()
    os.close(reading)
    os.close(writing)
    assert here.split(".")[0] != there.split(".")[0]


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON).filter(lambda m: "inngest-realtime" not in m))
def test_metadata_of_the_user_comes_back_as_it_was(metadata: dict[str, Any]) -> None:
    envelope = with_metadata(json.loads(encode_metadata(metadata, id="x")))
    message = Message[Any](envelope)
    assert message.id == "x"
    assert message.metadata == (metadata or None)


@given(JSON)
def test_other_publishers_may_give_any_metadata(metadata: Any) -> None:
    message = Message[Any](with_metadata(metadata))
    assert message.id is None
    assert message.metadata == metadata


@pytest.mark.parametrize("added", [None, 7, [], "x", {}, {"id": None}, {"id": 7}, {"id": ""}, {"id": "x" * 201}])
def test_what_is_no_id(added: object) -> None:
    assert with_metadata({"inngest-realtime": added, "id": "theirs"}).id is None


def test_data_streams_have_none() -> None:
    assert with_metadata({"inngest-realtime": {"id": "x"}}, kind="datastream-start").id is None


def test_identity_is_topic_and_id() -> None:
    def identity(id: str, **where: Any) -> str:
        envelope = message_of(**where)
        envelope.metadata = with_metadata({"inngest-realtime": {"id": id}}).metadata
        return envelope.identity

    assert identity("x", data=1, number=1) == identity("x", data=2, number=2)
    assert identity("x") != identity("y")
    assert identity("x") != identity("x", topic="u")
