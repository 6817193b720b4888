"""`client.js`: its own tests in Node, its size, and that it stands alone."""

from __future__ import annotations

import gzip
import re
from importlib.resources import files

from interop.conftest import Node, node_test

CLIENT = files("inngest_realtime_core.endpoints") / "client.js"


def test_the_client_in_node(node: Node) -> None:
    assert node_test(node, "client.test.mjs") >= 41


def test_the_client_is_small_and_needs_nothing() -> None:
    source = CLIENT.read_text()
    assert len(gzip.compress(source.encode(), 9)) <= 4096
    assert not re.search(r"^\s*(import|export .* from)\b", source, re.MULTILINE)
