"""The private things of others that are relied upon: the reference lists each, with its test and a way without it."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters import PACKAGES, ROOT
from inngest_realtime_core import Channel, topic

# Documented, although their names look private.
DOCUMENTED = {
    "__pydantic_extra__",  # pydantic
    "_fields",  # typing.NamedTuple
    "_get_current_object",  # Werkzeug
    "_replace",  # typing.NamedTuple
}


class Reliance(NamedTuple):
    """A row of the table."""

    thing: str
    owner: str
    file: str
    purpose: str
    test: str
    otherwise: str


def table() -> list[Reliance]:
    text = (ROOT / "docs" / "reference.md").read_text()
    (section,) = re.findall(r"^## Private things of others\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\| `.*", section, re.M)]
    return [Reliance(row[0].strip("` "), row[1], row[2].strip("`"), row[3], row[4].strip("`"), row[5]) for row in rows]


TABLE = table()


def sources() -> dict[Path, ast.Module]:
    folders = [ROOT / name if (ROOT / name).is_dir() else ROOT / "integrations" / name for name in PACKAGES]
    return {path: ast.parse(path.read_text()) for folder in folders for path in folder.rglob("*.py")}


SOURCES = sources()


def looks_private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[A-Za-z]\w*|__pydantic\w+", name) is not None


def made_in(tree: ast.Module) -> Iterator[str]:
    """The names that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("inngest_realtime")):
            yield from (alias.name for alias in node.names)


def used_in(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Names that look private, and whether they are taken from an object by the text of the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, False
        elif isinstance(node, ast.ImportFrom) and not node.level and not (node.module or "").startswith("inngest_real"):
            yield from ((name, False) for name in (*(node.module or "").split("."), *(a.name for a in node.names)))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield str(name.value), True
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, False


def overridden_in(tree: ast.Module) -> Iterator[str]:
    """Private methods that a class has in place of those of a class of others."""
    foreign = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and not node.level and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in foreign and not foreign[base.id][0].startswith("inngest_"):
                module, name = foreign[base.id]
                found: Any = getattr(importlib.import_module(module), name)
                methods = (item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))
                yield from (method for method in methods if looks_private(method) and hasattr(found, method))


def reliances() -> dict[str, set[str]]:
    """What the source takes of others by a private name: name -> files."""
    made = {path: set(made_in(tree)) for path, tree in SOURCES.items()}
    anywhere = set[str]().union(*made.values())
    found: dict[str, set[str]] = {}
    for path, tree in SOURCES.items():
        used = {name for name, taken in used_in(tree) if name not in (made[path] if taken else anywhere)}
        for name in {*filter(looks_private, used), *overridden_in(tree)}:
            found.setdefault(name, set()).add(path.as_posix())
    return found


# Set by this package itself, on an object of others.
OWN = {"_inngest_realtime_calls", "_sync"}


def test_the_table_is_complete() -> None:
    listed = {row.thing for row in TABLE}
    assert {name: files for name, files in reliances().items() if name not in listed | DOCUMENTED | OWN} == {}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.thing)
def test_a_row_is_true(row: Reliance) -> None:
    (path,) = (path for path in SOURCES if path.as_posix().endswith(f"/{row.file}"))
    assert row.thing in path.read_text()
    file, _, test = row.test.partition("::")
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    assert row.owner
    assert row.purpose
    assert row.otherwise


# Those that no other test would miss


def test_a_channel_in_a_function_sees_its_locals() -> None:
    Key = int

    class Cell(Channel, name="cell:{key}"):
        key: Key
        changes = topic(Any)

    assert Cell(key=5).name == "cell:5"


def test_the_test_client_of_starlette_streams() -> None:
    testclient = pytest.importorskip("starlette.testclient")
    applications = pytest.importorskip("starlette.applications")
    client = testclient.TestClient(applications.Starlette())
    assert type(client._transport) is testclient._TestClientTransport
    assert hasattr(client._transport, "_open_requests")
