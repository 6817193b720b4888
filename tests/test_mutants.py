"""That the wrong lines of `nox -s mutants` are still there to be put in: it takes minutes, and is not run each time."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
CORE = TESTS.parent / "inngest_realtime_core"


def test_each_wrong_line_still_has_the_right_one() -> None:
    # Not imported: it imports what the tests of each mutant need.
    tree = ast.parse((TESTS / "mutants.py").read_text())
    (listed,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MUTANTS"
    )
    assert isinstance(listed, ast.List)
    mutants = [[ast.literal_eval(part) for part in call.args] for call in listed.elts if isinstance(call, ast.Call)]
    assert len(mutants) == len(listed.elts)
    assert [name for name, file, right, _ in mutants if (CORE / file).read_text().count(right) != 1] == []
