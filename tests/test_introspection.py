"""`help()`, `inspect.signature` and `typing.get_type_hints` work on every public name, and the types are complete."""

from __future__ import annotations

import importlib
import inspect
import os
import pydoc
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from test_exports import SOURCES

ROOT = Path(__file__).parent.parent
PACKAGES = sorted({*SOURCES, "inngest_realtime"})
# What else has public names: for writers of adapters and of tests, and of Django's what is named in settings and views.
MODULES = [
    *(f"inngest_realtime_core.{name}" for name in ("channels", "messages", "subscriptions", "endpoints")),
    *(f"inngest_realtime_core.endpoints.{name}" for name in ("asgi", "routes", "wsgi")),
    "inngest_realtime_devserver.testing",
    *(f"inngest_realtime_django.{name}" for name in ("middleware", "rest_framework")),
]
PUBLIC = pytest.mark.parametrize("package", [*PACKAGES, *MODULES])
# Of inngest's own base class, which names what only its type checker imports.
FOREIGN = {"RealtimeMiddleware"}


def public(package: str) -> Iterator[tuple[str, Any]]:
    module = importlib.import_module(package)
    made_here = (name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == package)
    for name in getattr(module, "__all__", None) or [name for name in made_here if not name.startswith("_")]:
        yield name, getattr(module, name)


def functions(name: str, thing: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """A function, or a class with its public methods and properties, those of bases of ours included."""
    if inspect.isclass(thing):
        ours = (base for base in reversed(thing.__mro__) if base.__module__.startswith("inngest_realtime"))
        attributes = {attribute: value for base in ours for attribute, value in vars(base).items()}
        for attribute, value in attributes.items():
            if not attribute.startswith("_") or attribute == "__init__":
                function = getattr(value, "__func__", getattr(value, "fget", value))
                if inspect.isfunction(function):
                    yield f"{name}.{attribute}", function
    if inspect.isclass(thing) or inspect.isfunction(thing):
        yield name, thing


@PUBLIC
def test_help(package: str) -> None:
    for name, thing in public(package):
        if not isinstance(thing, str):  # the version
            named = inspect.isclass(thing) or inspect.isfunction(thing)
            assert name in pydoc.render_doc(thing) or not named


@PUBLIC
def test_signatures(package: str) -> None:
    for name, thing in public(package):
        for _, function in functions(name, thing):
            if not (inspect.isclass(function) and issubclass(function, dict) and "__init__" not in vars(function)):
                inspect.signature(function)


@PUBLIC
def test_type_hints(package: str) -> None:
    for name, thing in public(package):
        for place, function in functions(name, thing):
            if place not in FOREIGN:
                typing.get_type_hints(function)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_types_of_a_package_are_complete(package: str) -> None:
    # Not any on the path: without the stubs that are installed beside it, types of frameworks are unknown.
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists():
        pytest.skip("pyright is not installed here: `nox -s typing` runs this")
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    done = subprocess.run(
        [pyright, "--verifytypes", package, "--ignoreexternal"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=110,
    )
    (score,) = re.findall(r"Type completeness score: ([\d.]+)%", done.stdout)
    assert float(score) >= 98, "\n".join(line for line in done.stdout.splitlines() if " error: " in line)
