"""What the documents for maintainers name exists, and the sizes that they promise hold."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

from adapters import ADAPTERS

ROOT = Path(__file__).parent.parent
CORE = ROOT / "inngest_realtime_core"
DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md")
SOURCES = sorted([*CORE.rglob("*.py"), *(ROOT / "integrations").rglob("*.py")])

# `inngest_realtime_core/_hub/feed.py`, or with a function: `_hub/feed.py:Feed.receive`
_REFERENCE = re.compile(r"`((?:[\w.]+/)*[\w]+\.(?:py|js))(?::([\w.]+))?`")


def references() -> list[tuple[str, str, str]]:
    return [(name, *match) for name in DOCUMENTS for match in _REFERENCE.findall((ROOT / name).read_text())]


def located(path: str) -> Path | None:
    return next((base / path for base in (ROOT, CORE, ROOT / "integrations") if (base / path).exists()), None)


@pytest.mark.parametrize(("document", "path", "name"), references())
def test_what_a_document_names_exists(document: str, path: str, name: str) -> None:
    file = located(path)
    assert file is not None, f"{document} names {path}, which does not exist"
    body = ast.parse(file.read_text()).body if file.suffix == ".py" else []
    for part in name.split(".") if name else ():
        found = [node for node in body if getattr(node, "name", None) == part]
        assert found, f"{document} names {name} in {path}, which is not there"
        body = getattr(found[0], "body", [])


def test_there_are_few_modules_at_the_top_of_the_core() -> None:
    assert len(list(CORE.glob("*.py"))) <= 12


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_a_class_have_one_subject(source: Path) -> None:
    text = source.read_text()
    assert text.count("\n") <= 360, "is there a second subject in it?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert (node.end_lineno or 0) - node.lineno <= 310, f"{node.name} is long: is there a second subject in it?"


# Each in its own file, or on the line of `servers.py` that says what it does otherwise.
_NAMES = re.compile("|".join((*ADAPTERS, "litestar", "uvicorn", "gunicorn", "gevent", "hypercorn", "werkzeug")), re.I)
_THEIR_OWN = ("servers.py", "serving.py")


def test_the_contract_names_no_framework_and_no_server() -> None:
    contract = [path for path in (ROOT / "tests" / "conformance").glob("*.py") if path.name not in _THEIR_OWN]
    assert len(contract) > 10
    assert [path.name for path in contract if _NAMES.search(path.read_text())] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_private_is_read_by_its_own_file_alone(source: Path) -> None:
    tree = ast.parse(source.read_text())
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_own(node.value)}
    own |= {getattr(node, "name", "") for node in ast.walk(tree)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    read = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not _is_own(node.value)]
    foreign = {node.attr for node in read if node.attr[0] == "_" and not node.attr.endswith("__")} - own
    assert foreign <= {"_getframe", "_fields", "_replace", "_get_current_object"}, "it belongs to another file"


def _is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def test_what_silences_a_checker_says_why() -> None:
    silent = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in (CORE, ROOT / "integrations", ROOT / "examples", ROOT / "benchmarks")
        for path in sorted(folder.rglob("*.py"))
        for above, line in itertools.pairwise(["", *path.read_text().splitlines()])
        if re.search(r"# (type: ignore|pyright: ignore|noqa|pragma: no cover)", line)
        and not re.search(r"\]  # (?!pyright)\w+ \w+|\] - \w+|noqa: \w+ - \w+", line)
        and not above.strip().startswith("#")
    ]
    assert silent == []
