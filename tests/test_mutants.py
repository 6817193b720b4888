"""That the wrong lines of `nox -s mutants` are still there to be put in: it takes minutes, and is not run each time."""

from __future__ import annotations

import ast
from pathlib import Path

from attack_mutants import ATTACKS

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


def test_each_attack_has_a_protection_that_can_be_taken_away() -> None:
    wrong: list[str] = []
    for test, file, right, _ in ATTACKS:
        path = CORE / file if (CORE / file).exists() else TESTS.parent / file
        wrong += [test] if path.read_text().count(right) != 1 else []
    assert wrong == []


def test_each_test_of_the_attacks_is_known_to_fail() -> None:
    attacks = TESTS / "attacks"
    found = {
        f"{path.relative_to(attacks).as_posix()}::{node.name}"
        for path in attacks.rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }
    assert found == {test.partition("[")[0] for test, *_ in ATTACKS if not test.startswith("../")}
