"""What the tests with JavaScript clients need: Node, and for most of them the packages of `package.json`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"

Node = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def node() -> Node:
    """Runs Node 20 or newer with arguments, in this folder, and returns the process when it has ended."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("Node 20 or newer is not on the path; these tests need it.")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"These tests need Node 20 or newer; {version.strip()} is on the path.")

    def run(
        *arguments: str, cwd: Path = HERE, env: Mapping[str, str] | None = None, timeout: float = 110
    ) -> subprocess.CompletedProcess[str]:
        command = [path, *arguments]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the npm packages in `package.json`."""
    if not MODULES.is_dir():
        pytest.skip("The npm packages of tests/interop are not installed; `nox -s interop` does that.")
    return MODULES


def node_test(node: Node, *arguments: str, env: Mapping[str, str] | None = None) -> int:
    """Runs files of `node --test`, fails with their output, and returns how many tests passed."""
    done = node("--test", "--test-force-exit", "--test-reporter=tap", *arguments, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    return int(passed[1])
