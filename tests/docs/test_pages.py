"""Every code block of the documentation runs, or is read by what it is written for."""

from __future__ import annotations

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from inngest_realtime_devserver import DevServer

from .blocks import PAGES, ROOT, Block, blocks_of

PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks_of(page))]
# What is shown, and not code: output, drawings, requests and responses.
SHOWN = {"text", "mermaid", "http", "diff", ""}
# Other tests run what is not read here: test_deployment.py, tests/browser and tests/interop.
CHECKED = {
    "python",
    "json",
    "yaml",
    "toml",
    "html",
    "js",
    "ts",
    "tsx",
    "console",
    "ini",
    "dockerfile",
    "nginx",
    "caddy",
}


def label(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PYTHON, ids=label)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    blocks = [(block.title, block.code) for block in blocks_of(page) if block.language == "python"]
    (tmp_path / "blocks.json").write_text(json.dumps(blocks))
    with DevServer().in_thread() as server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INNGEST_", "DJANGO_"))}
        environment = {**kept, "INNGEST_DEV": server.url, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(Path(__file__).parent / "run_page.py"), "blocks.json"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_the_other_blocks_of_a_page_are_well_formed(page: Path) -> None:
    for block in blocks_of(page):
        try:
            check(block)
        except (ValueError, AssertionError, subprocess.CalledProcessError) as error:
            pytest.fail(f"{label(page)}:{block.line}: {block.language}: {error}")


def check(block: Block) -> None:
    language, code = block.language, block.code
    if language == "json":
        json.loads(code)
    elif language == "yaml":
        import yaml

        list(yaml.safe_load_all(code))
    elif language == "toml":
        if sys.version_info >= (3, 11):
            import tomllib

            tomllib.loads(code)
    elif language == "html":
        html.parser.HTMLParser().feed(code)
    elif language == "js":
        check_javascript(code)
    elif language == "console":
        check_console(code)
    elif language == "nginx":
        check_nginx(code)
    elif language == "ini":
        check_ini(code)
    else:
        assert language in SHOWN | CHECKED, f"nothing is known about {language!r}"
        if language in ("text", ""):
            assert not re.search(r"^\s*(async |def |class |from \w+ import|import |await |@\w)", code, re.MULTILINE), (
                "it is Python"
            )


def check_javascript(code: str) -> None:
    node = shutil.which("node")
    if node is None:
        return
    command = [node, "--input-type=module", "--check"]
    done = subprocess.run(command, input=code, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def check_nginx(code: str) -> None:
    """nginx takes the location, within a server whose application is `app`."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        places = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(
            f"pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; client_body_temp_path {folder}; "
            f"{places} upstream app {{ server 127.0.0.1:8000; }} server {{ listen 127.0.0.1:8080; {code} }} }}"
        )
        command = [nginx, "-t", "-q", "-c", str(configuration), "-p", folder]
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def check_ini(code: str) -> None:
    """A configuration of pytest, which starts with it; an option that nobody has declared is an error."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text(code)
        command = [sys.executable, "-m", "pytest", "--strict-config", "-q", "-p", "no:cacheprovider", "--collect-only"]
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=60)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr


def check_console(code: str) -> None:
    """The sessions of nox and the modules that commands name exist."""
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    for session in re.findall(r"nox -s ([\w ]+?)(?: --|\s*$|[^\w ])", code, re.MULTILINE):
        for name in session.split():
            assert name in sessions or name.startswith("tests"), f"there is no session {name}"
    for module in re.findall(r"python3? -m (inngest_realtime\w*)", code):
        assert (ROOT / "integrations" / module / "__main__.py").exists(), f"{module} cannot be run"


def test_the_workflows_run_sessions_that_exist() -> None:
    import yaml

    noxfile = (ROOT / "noxfile.py").read_text()
    (pythons,) = re.findall(r"^PYTHONS = \((.*)\)", noxfile, re.MULTILINE)
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    jobs = workflows["ci"]["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == re.findall(r"[\d.]+", pythons)
    run = [step.get("run", "") for each in workflows.values() for job in each["jobs"].values() for step in job["steps"]]
    named = {name for line in run for text in re.findall(r"nox -s ([a-z ]+)", line) for name in text.split()}
    named |= set(jobs["check"]["strategy"]["matrix"]["session"])
    sessions = set(re.findall(r"^@nox\.session\ndef (\w+)", noxfile, re.MULTILINE))
    assert named <= sessions
    # What is left to people: measuring, and what needs other Pythons.
    assert sessions - named == {"demo", "example", "bench", "matrix", "mutants"}


PATHS = re.compile(r"`((?:inngest_realtime\w*|tests|examples|docs|benchmarks|integrations)/[\w./-]*[\w/])`")


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    places = (ROOT, ROOT / "integrations")
    missing = {path for path in PATHS.findall(page.read_text()) if not any((base / path).exists() for base in places)}
    assert not missing


def test_all_blocks_are_counted(record_property: pytest.FixtureRequest) -> None:
    counted = Counter(block.language for page in PAGES for block in blocks_of(page))
    assert not set(counted) - SHOWN - CHECKED
    print("\nCode blocks:", ", ".join(f"{language or 'plain'} {count}" for language, count in counted.most_common()))
