"""The pytest plugin in the set-ups that users have, with every warning an error."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import ROOT, blocks_of
from inngest_realtime_devserver import DevServer

SUITES = Path(__file__).parent / "plugin_suites"
CONFTEST = """
import sys, types

seen = sys.modules["conftest_saw"] = types.ModuleType("conftest_saw")
roots = ("inngest_realtime_core", "uvicorn")  # what plugins of others import is theirs
seen.early = [name for name in sys.modules if name.startswith(roots) or name == "inngest_realtime_devserver.server"]
"""
DJANGO = """
SECRET_KEY = "only for tests"
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = ["inngest_realtime_django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INNGEST_REALTIME = {"REALTIME": "application.realtime", "GRANTS": "application.grants"}
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("api/realtime/", include("inngest_realtime_django.urls"))]
"""
# Starlette's TestClient warns of the httpx that it uses.
# Slow to import, and nothing to do with what is tried here.
OTHERS = [
    option for name in ("schemathesis", "faker", "hypothesispytest", "randomly") for option in ("-p", f"no:{name}")
]
STRICT = ["-W", "error", "-W", "ignore:Using `httpx` with `starlette.testclient`"]


def suite(folder: Path, *names: str, mark: str = "asyncio", ini: str = "") -> None:
    folder.joinpath("conftest.py").write_text(CONFTEST)
    folder.joinpath("pytest.ini").write_text(f"[pytest]\npythonpath = .\n{ini}\n")
    shutil.copy(SUITES / "application.py", folder)
    for name in names:
        text = (SUITES / f"{name}.py").read_text().replace("pytest.mark.MARK", f"pytest.mark.{mark}")
        folder.joinpath(f"test_{name}.py").write_text(text)


def run(folder: Path, *arguments: str, module: str = "pytest") -> subprocess.CompletedProcess[str]:
    options = ["-q", "-p", "no:cacheprovider", *OTHERS, *STRICT] if module == "pytest" else []
    python = [sys.executable, *(STRICT if module != "pytest" else []), "-m", module]
    command = [*python, *options, *arguments]
    if module == "pytest" and not (ini := folder / "pytest.ini").exists():
        ini.write_text(
            "[pytest]\n"
        )  # else that of a folder above, where the folder for temporary files lies in a project
    return subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=folder, check=False)


def passed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r"(\d+) passed", done.stdout)
    assert match is not None, done.stdout
    return int(match[1])


ASYNCIO = "asyncio_default_fixture_loop_scope = function\nasyncio_mode = "


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    suite(tmp_path, "ordinary", "asynchronous", ini=ASYNCIO + mode)
    assert passed(run(tmp_path, "-p", "no:anyio")) == 18


@pytest.mark.parametrize("first", ["ordinary", "asynchronous"])
def test_anyio(tmp_path: Path, first: str) -> None:
    suite(tmp_path, "ordinary", "asynchronous", mark="anyio")
    with tmp_path.joinpath("conftest.py").open("a") as conftest:
        conftest.write("\nimport pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n")
    last = "ordinary" if first == "asynchronous" else "asynchronous"
    assert passed(run(tmp_path, "-p", "no:asyncio", f"test_{first}.py", f"test_{last}.py")) == 18


def test_xdist(tmp_path: Path) -> None:
    suite(tmp_path, "ordinary", "asynchronous", ini=ASYNCIO + "auto")
    assert passed(run(tmp_path, "-p", "no:anyio", "-n", "2")) == 18


def test_unittest(tmp_path: Path) -> None:
    suite(tmp_path, "cases")
    assert passed(run(tmp_path, "-p", "no:asyncio")) == 3
    done = run(tmp_path, "test_cases.WithoutFixtures", module="unittest")
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


def test_web_frameworks(tmp_path: Path) -> None:
    suite(tmp_path, "web", ini=ASYNCIO + "auto")
    assert passed(run(tmp_path, "-p", "no:anyio")) == 4


def test_pytest_django(tmp_path: Path) -> None:
    suite(tmp_path, "django_web", "asynchronous", ini=ASYNCIO + "auto\nDJANGO_SETTINGS_MODULE = project")
    tmp_path.joinpath("project.py").write_text(DJANGO)
    tmp_path.joinpath("urls.py").write_text(URLS)
    assert passed(run(tmp_path, "-p", "no:anyio")) == 8


def test_the_page_of_the_documentation(tmp_path: Path) -> None:
    for block in blocks_of(ROOT / "docs/testing.md"):
        if block.title:
            tmp_path.joinpath(block.title).write_text(block.code)
    ini = f"[pytest]\npythonpath = .\n{ASYNCIO}auto\nDJANGO_SETTINGS_MODULE = settings\n"
    tmp_path.joinpath("pytest.ini").write_text(ini)
    assert passed(run(tmp_path, "-p", "no:anyio")) == 6


def test_the_page_says_which_calls_are_awaited() -> None:
    calls = re.findall(r"(await )?\bserver\.(\w+)\(", (ROOT / "docs/testing.md").read_text())
    assert {"inject", "drop_connections"} <= {name for _, name in calls}
    for awaited, name in calls:
        assert inspect.iscoroutinefunction(getattr(DevServer, name)) == bool(awaited), name


GUARD = """
import pytest
from inngest_realtime_core import Realtime, UnreachableError, ConfigurationError

def test_publish(USE):
    realtime = Realtime(api_base_url="http://inngest.invalid:8288")
    with pytest.raises(Exception) as caught:
        realtime.publish_sync(("c", "t"), 1)
    print(type(caught.value).__name__)
    realtime.close_sync()

def test_another(OTHER):
    pass
"""


@pytest.mark.parametrize(
    ("use", "other", "ini", "error"),
    [
        ("", "", "", "UnreachableError"),  # a run that has nothing to do with the fixtures is left alone
        ("inngest_realtime_server", "", "", "ConfigurationError"),
        ("inngest_realtime", "", "", "ConfigurationError"),
        ("", "inngest_realtime_env", "", "ConfigurationError"),
        ("request", "", "", "ConfigurationError"),
        ("inngest_realtime_server", "", "inngest_realtime_allow = inngest.invalid", "UnreachableError"),
        ("inngest_realtime_server", "", "inngest_realtime_allow = inngest.invalid:8288", "UnreachableError"),
        ("inngest_realtime_server", "", "inngest_realtime_allow =\n  http://a\n  *.invalid", "UnreachableError"),
    ],
)
def test_which_addresses_may_be_called(tmp_path: Path, use: str, other: str, ini: str, error: str) -> None:
    text = GUARD.replace("USE", use).replace("OTHER", other)
    if use == "request":
        text = text.replace("    realtime =", "    request.getfixturevalue('inngest_realtime_server')\n    realtime =")
    tmp_path.joinpath("test_guard.py").write_text(text)
    tmp_path.joinpath("pytest.ini").write_text(f"[pytest]\n{ini}\n")
    done = run(tmp_path, "-s", "-p", "no:asyncio")
    assert passed(done) == 2
    assert f"{error}\n" in done.stdout


def test_without_the_extra_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    tmp_path.joinpath("conftest.py").write_text("import sys\n\nsys.modules['uvicorn'] = None\n")
    tmp_path.joinpath("test_it.py").write_text("def test_it(inngest_realtime_server):\n    pass\n")
    done = run(tmp_path, "-p", "no:asyncio")
    assert done.returncode == 1
    assert 'pip install "inngest-realtime[devserver]"' in done.stdout
