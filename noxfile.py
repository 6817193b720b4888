"""The project's commands: `python -m nox -s demo`, `python -m nox -s tests`, and `python -m nox -l` for the others."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.sessions = ["tests", "lint", "typing"]
nox.options.reuse_existing_virtualenvs = True

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml(HERE / "pyproject.toml")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# A minute of the tests: each floor, each package's names, the documentation's contracts, and what is built.
QUICK = [
    *(f"tests/test_{name}.py" for name in ("architecture", "channels", "contract", "envelope", "exports", "extras")),
    *(f"tests/test_{name}.py" for name in ("functions", "grants", "messages", "packaging", "protocol", "selection")),
    *(f"tests/test_{name}.py" for name in ("log_events", "reference", "settings", "sse", "tokens", "untyped")),
]
ADAPTERS: list[str] = PROJECT["tool"]["inngest-realtime"]["adapters"]


def group(name: str) -> list[str]:
    """The requirements of a dependency group; pip itself reads groups only since 25.1."""
    return nox.project.dependency_groups(PROJECT, name)


def installed_python(version: str) -> str | None:
    """The path of an interpreter, also of one that pyenv keeps but has not switched on."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    if kept:
        return str(kept[-1])
    elsewhere = [entry for entry in os.get_exec_path() if Path(entry) != pyenv / "shims"]
    return shutil.which(f"python{version}", path=os.pathsep.join(elsewhere))


def run_tests(session: nox.Session) -> None:
    session.install("-e", ".[all]", *group("test"))
    # Most tests wait for servers of their own, so more run at once than there are processors.
    session.run("python", "-m", "pytest", "-n", "4", *session.posargs)
    if "--cov" in session.posargs:
        session.run("python", "tests/coverage_floors.py")


@nox.session
def demo(session: nox.Session) -> None:
    """Watch a pipeline's progress in the terminal and the browser; `-- --once` shows one run and ends."""
    run_demo(session, "fastapi", session.posargs)


@nox.session
def example(session: nox.Session) -> None:
    """The same with another framework: `-- django`, for one. Without a name it lists them."""
    if not session.posargs or session.posargs[0] not in ADAPTERS:
        session.error(f"Which one? nox -s example -- {'|'.join(ADAPTERS)}")
    run_demo(session, session.posargs[0], session.posargs[1:])


def run_demo(session: nox.Session, framework: str, arguments: list[str]) -> None:
    session.install("-e", f".[{framework},devserver]")
    # Ctrl+C is the ordinary end: the demo stops its servers, and nox waits for that.
    session.run("python", "examples/demo.py", framework, *arguments, interrupt_timeout=10.0, terminate_timeout=5.0)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the Python that runs nox. Arguments after `--` go to pytest."""
    run_tests(session)


for version in PYTHONS:
    nox.session(run_tests, name=f"tests-{version}", python=installed_python(version) or version)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, that imports point down the floors, and what GitHub and Docker read."""
    session.install("-e", ".[all]", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")
    for schema, pattern in SCHEMAS.items():
        files = [str(path.relative_to(HERE)) for path in sorted(HERE.glob(pattern))]
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    session.run("zizmor", "--offline", "--quiet", ".github")


# The schemas come with check-jsonschema: nothing is fetched.
SCHEMAS = {
    "github-workflows": ".github/workflows/*.yml",
    "github-issue-forms": ".github/ISSUE_TEMPLATE/*.yml",
    "dependabot": ".github/dependabot.yml",
    "compose-spec": "examples/deploy/compose.yaml",
}


@nox.session
def typing(session: nox.Session) -> None:
    """Type-check strictly, with pyright and with mypy; and what others see of each package's types is complete."""
    session.install("-e", ".[all]", *group("test"), *group("typing"))
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})
    session.run("mypy")
    session.run("python", "-m", "pytest", "-q", "-n", "2", "tests/test_introspection.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, strictly; `-- serve` shows it."""
    session.install("-e", ".[all]", *group("docs"))
    if session.posargs:
        session.run("mkdocs", *session.posargs)
    else:
        session.run("mkdocs", "build", "--strict", "--quiet")


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distribution and the wheel into dist/."""
    session.install("build", "twine", "uv")
    shutil.rmtree(HERE / "dist", ignore_errors=True)
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", *map(str, sorted((HERE / "dist").iterdir())))
    (wheel,) = (HERE / "dist").glob("*.whl")
    for name in ("", *PROJECT["project"]["optional-dependencies"]):
        try_extra(session, wheel, name)


# What the extras are for, as their users begin; each in an environment of its own, with nothing else.
TRIALS = {
    "": "import inngest_realtime; inngest_realtime.Realtime()",
    **{name: f"from inngest_realtime_{name} import subscription_token, subscription_stream" for name in ADAPTERS},
    "redis": "from inngest_realtime_redis import RedisReplay; RedisReplay('redis://localhost')",
    "inngest": "from inngest_realtime_functions import RealtimeMiddleware",
    "devserver": "from inngest_realtime_devserver import DevServer; DevServer()",
    "cli": "from inngest_realtime_cli import main; main(['doctor', '--help'])",
    "otel": "from inngest_realtime_otel import instrument",
    "all": f"import inngest_realtime_otel, {', '.join(f'inngest_realtime_{name}' for name in ADAPTERS)}",
}


def try_extra(session: nox.Session, wheel: Path, name: str) -> None:
    """Installs the wheel with one extra in an empty environment, and does what its users do first."""
    python = Path(session.create_tmp()) / f"with-{name or 'nothing'}" / "bin" / "python"
    session.run("uv", "venv", "-q", "--clear", str(python.parent.parent))
    session.run("uv", "pip", "install", "-q", "--python", str(python), f"{wheel}[{name}]" if name else str(wheel))
    session.run(str(python), "-c", TRIALS[name], external=True, silent=True)


@nox.session
def tutorials(session: nox.Session) -> None:
    """Follow each tutorial from an empty folder, commands included, and take the time; `-- flask` selects."""
    session.install("build", ".[devserver]", *group("test"), *group("browser"))
    folder = Path(session.create_tmp()).resolve() / "wheel"  # read from another folder below
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), silent=True)
    (wheel,) = folder.glob("*.whl")
    for framework in session.posargs or sorted(page.stem for page in (HERE / "docs" / "tutorial").glob("*.md")):
        page = HERE / "docs" / "tutorial" / f"{framework}.md"
        with session.chdir(HERE / "tests"):
            session.run("python", "-m", "docs.stranger", str(page), str(wheel))


@nox.session
def sdist(session: nox.Session) -> None:
    """Build the source distribution, unpack it in an empty folder, and run its quick tests there; `-- tests`: all."""
    session.install("build", "nox")
    folder = Path(session.create_tmp()).resolve() / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder))
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    # As the README says, and with nothing of this tree.
    with session.chdir(folder / archive.name.removesuffix(".tar.gz")):
        session.run(
            "python", "-m", "nox", "-s", "tests", "--", *(session.posargs or QUICK), env={"NOX_CURRENT_SESSION": None}
        )


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the hot path against a bare websockets loop."""
    session.install("-e", ".[all]", *group("test"), *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Run the tests that break connections and processes; `-- --short` takes two minutes of them."""
    session.install("-e", ".[all]", *group("test"))
    arguments = [argument for argument in session.posargs if argument != "--short"]
    if "--short" in session.posargs:
        arguments = ["-n", "2", "-m", "not long", *arguments]
    session.run("python", "-m", "pytest", "tests/chaos", *arguments)


@nox.session
def mutants(session: nox.Session) -> None:
    """Put in wrong lines, one by one, each of which has to make a test fail.

    They are of the floors of connections, sharing and history, and of what protects from attacks (`-- attacks`).
    """
    session.install("-e", ".[all]", *group("test"))
    session.run("python", "tests/mutants.py", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Test each framework and `inngest`, lowest and newest, on each installed Python; `-- django 3.12` selects rows."""
    session.install("uv")
    results: list[tuple[str, str, str]] = []
    for name, python, requirements, arguments in matrix_cells(session):
        directory = Path(session.create_tmp()) / re.sub(r"\W+", "-", f"{name}-{python}")
        interpreter = directory / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        session.run("uv", "venv", "-q", "--clear", "--python", str(installed_python(python)), str(directory))
        try:
            session.run("uv", "pip", "install", "-q", "--python", str(interpreter), *requirements)
            versions = session.run("uv", "pip", "freeze", "--python", str(interpreter), silent=True)
            pytest = [str(interpreter), "-m", "pytest", "-q", *arguments]
            outcome = session.run(*pytest, silent=True, external=True, success_codes=range(256))
            # Threads that end with the interpreter may still log something behind pytest's last line.
            lines = [line for line in str(outcome).splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
            result = lines[-1].strip("= ") if lines else "no tests ran: failed"
            if " failed" in result or " error" in result or "passed" not in result:
                session.log(str(outcome))
        except nox.command.CommandFailed:
            versions, result = "", "not installable: failed"
        found = dict(line.split("==") for line in str(versions).splitlines() if "==" in line)
        packages = [package for package in (name.split()[0], "websockets") if package in found]
        shown = ", ".join(f"{package} {found[package]}" for package in packages)
        results.append((f"{name} ({shown})", python, result))
    width = max((len(row[0]) for row in results), default=0)
    for row in results:
        print(f"{row[0]:{width}}  {row[1]:5}  {row[2]}")
    if not results or any("failed" in row[2] or "error" in row[2] or "passed" not in row[2] for row in results):
        session.error("Not all of the matrix passed.")


def matrix_cells(session: nox.Session) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Name, Python, what to install and what to test, of each row of the matrix."""
    base = group("test")
    for python in PYTHONS:
        cells: list[tuple[str, list[str], list[str]]] = []
        for framework in ADAPTERS:
            tests = ["tests/conformance", f"tests/test_{framework}.py", "-k", framework]
            for edge in ("lowest", "newest"):
                pinned = lowest([*extra(framework), *extra("devserver")]) if edge == "lowest" else []
                cells.append((f"{framework} {edge}", ["-e", f".[{framework},devserver]", *base, *pinned], tests))
        for edge, pins in (("lowest", lowest(extra("inngest"))), ("newest", [])):
            cells.append((f"inngest {edge}", ["-e", ".[all]", *base, *pins], ["tests/functions"]))
        core = PROJECT["project"]["dependencies"]
        cells.append(("core lowest", ["-e", ".[all]", *base, *lowest(core)], ["tests", "--ignore=tests/conformance"]))
        for name, requirements, tests in cells:
            if installed_python(python) and all(word in (*name.split(), python) for word in session.posargs):
                yield name, python, requirements, tests


def extra(name: str) -> list[str]:
    requirements: list[str] = PROJECT["project"]["optional-dependencies"][name]
    return requirements


def lowest(requirements: list[str]) -> list[str]:
    """Each requirement pinned to the least version it allows."""
    return [re.sub(r"\s*>=\s*([\w.]+).*", r"==\1", requirement) for requirement in requirements]


def install_npm_packages(session: nox.Session) -> None:
    """Installs what `tests/interop/package.json` names, or skips the session and says why."""
    found = (
        re.match(r"v(\d+)", str(session.run("node", "--version", external=True, silent=True)))
        if shutil.which("node")
        else None
    )
    if found is None or int(found[1]) < 20 or shutil.which("npm") is None:
        session.skip("The tests with JavaScript clients need Node 20 or newer, with npm, on the path.")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"]
    with session.chdir(HERE / "tests" / "interop"):
        try:
            session.run(*install, external=True)
        except nox.command.CommandFailed:
            session.skip("npm could not install the packages of tests/interop; its message is above.")


def fetch_mermaid(session: nox.Session) -> None:
    """Fetches what draws the figures of the site: one bundled file, without the hundred packages that it is made of."""
    folder = HERE / "tests" / "interop" / "node_modules" / ".mermaid"
    if (folder / "package").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (package,) = re.findall(r"/(mermaid@[\d.]+)/", (HERE / "docs" / "hooks.py").read_text())
    with session.chdir(folder):
        try:
            session.run("npm", "pack", "--silent", package, external=True, silent=True)
        except nox.command.CommandFailed:
            session.warn("npm could not fetch mermaid: the figures are not drawn.")
            return
    (archive,) = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder)
    archive.unlink()


@nox.session
def interop(session: nox.Session) -> None:
    """Test with the TypeScript SDK, `tsc`, and the SSE clients that pages use, in Node."""
    install_npm_packages(session)
    session.install("-e", ".[all]", *group("test"))
    session.run("python", "-m", "pytest", "tests/interop", "-n", "4", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Test pages of every kind against every adapter, in Chromium; `CHROMIUM` names another binary than the path's."""
    if shutil.which(os.environ.get("CHROMIUM", "chromium")) is None:
        session.skip("There is no Chromium: `apt-get install chromium`, or set CHROMIUM to its binary.")
    install_npm_packages(session)
    fetch_mermaid(session)
    session.install("-e", ".[all]", *group("test"))
    try:
        session.install(*group("browser"))
    except nox.command.CommandFailed:
        session.skip("playwright could not be installed: there is a wheel of it for some platforms only.")
    session.run("python", "-m", "pytest", "tests/browser", "-n", "3", *session.posargs)
