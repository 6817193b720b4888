"""What a user gets who installs the distribution: all packages at top level, typed, from the wheel and editable."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from adapters import ADAPTERS, EXTRAS, PACKAGES, ROOT, frameworks_of, strings


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    return built(f"build_wheel({str(directory)!r})", directory)


def built(call: str, directory: Path) -> Path:
    """Calls hatchling as pip does, in a process of its own: it works in the current directory."""
    code = f"from hatchling import build; build.{call}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (path,) = directory.iterdir()
    return path


def locate(path: Path, flag: str = "") -> dict[str, Path]:
    """Where the packages come from in a Python that has only the dependencies, and `path` before them."""
    code = (
        "import importlib.util, site, sys\n"
        f"site.addsitedir({str(path)!r})\n"
        f"sys.path.sort(key=lambda entry: not entry.startswith(({str(path)!r}, {flag or str(path)!r})))\n"
        f"for name in {PACKAGES!r}: print(importlib.util.find_spec(name).origin)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name: Path(origin) for name, origin in zip(PACKAGES, done.stdout.splitlines(), strict=True)}


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert all(f"{package}/py.typed" in names for package in PACKAGES)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.endswith(".py")}
    sources = {
        str(module.relative_to(base))
        for base in (ROOT, ROOT / "integrations")
        for package in PACKAGES
        for module in (base / package).rglob("*.py")
    }
    assert shipped == {name.replace("\\", "/") for name in sources}


def test_the_wheel_holds_the_client_of_browsers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in ("client.js", "client.d.ts"):
            source = ROOT / "inngest_realtime_core" / "endpoints" / name
            assert archive.read(f"inngest_realtime_core/endpoints/{name}") == source.read_bytes()


def test_the_metadata(wheel: Path) -> None:
    headers = metadata_of(wheel)
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert headers["Name"] == "inngest-realtime"
    assert headers["Requires-Python"] == ">=3.10"
    assert headers["License-Expression"] == "Apache-2.0"
    assert set(headers.get_all("Provides-Extra", [])) == set(EXTRAS)
    required = [Requirement(text) for text in headers.get_all("Requires-Dist", [])]
    plain = {requirement.name for requirement in required if requirement.marker is None}
    frameworks = {framework for adapter in ADAPTERS for framework in frameworks_of(adapter)}
    assert plain.isdisjoint({*frameworks, "uvicorn", "inngest"})
    needed = {extra: {r.name for r in required if f'"{extra}"' in str(r.marker)} for extra in EXTRAS}
    assert needed["all"] == set[str]().union(*(names for extra, names in needed.items() if extra != "all"))


def test_every_list_of_packages_is_whole() -> None:
    """What `pyproject.toml` says several times, because each tool reads a table of its own."""
    folders = {path.parent.name for path in (ROOT / "integrations").glob("*/__init__.py")}
    assert set(strings("packages")) == {"inngest_realtime_core", *(f"integrations/{name}" for name in folders)}
    assert set(strings("known-first-party")) == {"inngest_realtime_core", *folders}
    assert set(strings("root_packages")) == {"inngest_realtime_core", *folders}
    assert set(strings("forbidden_modules")) == folders
    assert strings("ancestors") == strings("root_packages")


def test_the_classifiers_are_what_was_tried() -> None:
    """The columns and the newest and lowest Django of "Tried versions", on Linux."""
    page = (ROOT / "docs" / "reference.md").read_text().partition("## Tried versions")[2]
    classifiers = strings("classifiers")

    def after(prefix: str) -> set[str]:
        return {each.removeprefix(prefix) for each in classifiers if each.startswith(prefix)}

    assert after("Operating System :: ") == {"POSIX :: Linux"}
    assert after("Programming Language :: Python :: 3.") == set(re.findall(r"Python 3\.(\d+)", page))
    tried = {
        ".".join(version.split(".")[:2])
        for row in re.findall(r"^\| Django \|.*$", page, re.MULTILINE)
        for version in re.findall(r"\d+\.\d[\d.]*", row)
    }
    assert after("Framework :: Django :: ") == tried


def test_every_adapter_is_listed() -> None:
    adapters = {
        path.parent.name.removeprefix("inngest_realtime_")
        for path in (ROOT / "integrations").glob("*/*.py")
        if re.search(r"^from inngest_realtime_core\.endpoints import .*\bEndpoints\b", path.read_text(), re.MULTILINE)
    }
    assert adapters == set(ADAPTERS)
    assert adapters <= set(EXTRAS)


def test_the_addresses_come_from_one_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path) -> None:
    monkeypatch.setenv("PROJECT_URL", "https://code.example/inngest-realtime/")
    with_address, without = metadata_of(built(f"build_wheel({str(tmp_path)!r})", tmp_path)), metadata_of(wheel)
    assert without.get_all("Project-URL") is None
    urls = dict(line.split(", ") for line in with_address.get_all("Project-URL", []))
    assert urls["Source"] == "https://code.example/inngest-realtime"
    text = with_address.get_payload()
    assert "https://code.example/inngest-realtime/raw/v0.1.0/docs/demo.png" in text
    assert "$ git clone https://code.example/inngest-realtime inngest-realtime && " in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert not [link for link in links if not link.startswith("https://")]


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "[console_scripts]\ninngest-realtime = inngest_realtime_cli:main" in archive.read(points).decode()


def test_the_wheel_puts_the_packages_at_top_level(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    assert locate(tmp_path) == {name: tmp_path / name / "__init__.py" for name in PACKAGES}


def test_an_editable_install_puts_them_there_too(tmp_path: Path) -> None:
    directory, site = tmp_path / "built", tmp_path / "site"
    directory.mkdir()
    with zipfile.ZipFile(built(f"build_editable({str(directory)!r})", directory)) as archive:
        archive.extractall(site)
    found = locate(site, str(ROOT))
    assert found["inngest_realtime_core"] == ROOT / "inngest_realtime_core" / "__init__.py"
    for name in PACKAGES[1:]:
        assert found[name] == ROOT / "integrations" / name / "__init__.py"


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    import tarfile

    archive = built(f"build_sdist({str(tmp_path)!r})", tmp_path)
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[-1] for name in tar.getnames()}
    for needed in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "noxfile.py", "tests/test_packaging.py"):
        assert needed in names
    with zipfile.ZipFile(wheel) as shipped:
        for name in shipped.namelist():
            if ".dist-info/" not in name:
                assert name in names or f"integrations/{name}" in names
