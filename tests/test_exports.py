"""The public names: they exist, the reference lists them all, and importing them does nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import ADAPTERS, ROOT, frameworks_of
from inngest_realtime_devserver.server import DevServer

SOURCES = {
    "inngest_realtime_core": ROOT / "inngest_realtime_core",
    **{
        path.parent.name: path.parent for path in sorted((ROOT / "integrations").glob("inngest_realtime_*/__init__.py"))
    },
}


def exported(source: Path) -> list[str]:
    """A package's `__all__`, read without importing it."""
    for node in ast.parse((source / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise AssertionError(f"{source} has no __all__")


def documented(package: str) -> list[str]:
    """The names in the tables `| name | ...` of a package's section, in the reference or in the adapter's own page."""
    pages = [ROOT / "docs" / "reference.md", *(ROOT / "docs" / "adapters").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    (section,) = re.findall(rf"^## {re.escape(package)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    tables = re.findall(r"^\| name \|.*\n\|---.*\n((?:\|.*\n)+)", section, re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \|", "".join(tables), re.MULTILINE)


@pytest.mark.parametrize("package", SOURCES)
def test_the_reference_lists_what_is_exported(package: str) -> None:
    assert sorted(documented(package)) == sorted(exported(SOURCES[package]))


@pytest.mark.parametrize("package", SOURCES)
def test_the_site_shows_its_docstrings(package: str) -> None:
    pages = [*(ROOT / "docs" / "api").glob("*.md"), *(ROOT / "docs" / "adapters").glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"^::: (\w+)", page.read_text(), re.MULTILINE)}
    assert package in shown or package == "inngest_realtime"  # the alias


def test_the_site_shows_what_a_class_has_of_its_bases() -> None:
    """`Realtime` has `publish()` and `subscribe()` of its bases, which are not exported."""
    assert re.search(r"^ +inherited_members: true$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


@pytest.mark.parametrize("package", SOURCES)
def test_what_is_exported_exists(package: str) -> None:
    done = python(f"from {package} import *")
    assert done.returncode == 0, done.stderr


def test_each_module_of_the_core_has_its_names() -> None:
    core = ROOT / "inngest_realtime_core"
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in core.rglob("[a-z]*.py")]
    assert len(modules) > 30
    done = python("\n".join(f"from {module} import *" for module in sorted(modules)))
    assert done.returncode == 0, done.stderr


def test_importing_the_core_starts_nothing_and_imports_no_framework() -> None:
    done = python(
        "import socket, sys, threading\n"
        "def refuse(*args, **kwargs): raise AssertionError('a socket was made')\n"
        "socket.socket.__init__ = refuse\n"
        "import inngest_realtime_core\n"
        "print(threading.active_count())\n"
        f"print([name for name in {[*ADAPTERS, 'uvicorn', 'inngest', 'redis']!r} if name in sys.modules])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["1", "[]"]


def test_who_only_publishes_and_mints_loads_nothing_of_subscriptions() -> None:
    with DevServer().in_thread() as server:
        done = python(
            "import sys, inngest_realtime_core\n"
            f"realtime = inngest_realtime_core.Realtime(api_base_url={server.url!r})\n"
            "realtime.publish_sync(('c', 't'), 1)\n"
            "realtime.get_client_subscription_token_sync(channel='c', topics=['t'])\n"
            "print('websockets' in sys.modules, 'inngest_realtime_core._hub.hub' in sys.modules)\n"
            "with realtime.subscribe_sync(channel='c', topics=['t']) as subscription:\n"
            "    print('websockets' in sys.modules, subscription.state)"
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["False False", "True open"]


@pytest.mark.parametrize("framework", ADAPTERS)
def test_an_adapter_loads_at_once_what_its_first_stream_needs(framework: str) -> None:
    done = python(
        f"import sys, inngest_realtime_{framework} as adapter; adapter.subscription_stream\n"
        "print('websockets' in sys.modules, 'inngest_realtime_core._hub.hub' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "True True"


@pytest.mark.parametrize("framework", ADAPTERS)
def test_an_adapter_imports_its_own_framework_only(framework: str) -> None:
    others = set(ADAPTERS) - set(frameworks_of(framework))
    done = python(
        f"import sys, threading, inngest_realtime_{framework}\n"
        f"print([name for name in {sorted(others)!r} if name in sys.modules])\n"
        "print(threading.active_count())"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[]", "1"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
