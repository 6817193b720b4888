"""What `import inngest_realtime_core` costs beside the import of what it depends on, in fresh processes.

The time of the processor is measured, since the time on the wall is mostly that of other processes on a busy machine.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from .report import Figure, at_most, only

__all__ = ["run"]

ROUNDS: Final = 21

# What the core imports of its dependencies, and the parts of pydantic that it has to load.
_DEPENDENCIES: Final = (
    "import asyncio, websockets.asyncio.client, httpx, anyio, msgspec, jwt, typing_extensions\n"
    "from pydantic import TypeAdapter, ValidationError, BaseModel"
)
_CORE: Final = "import inngest_realtime_core"
# The first subscription loads the rest; a process that serves streams has it from the start.
_STREAMING: Final = "import inngest_realtime_core.endpoints"
_BESIDE: Final = ("uvicorn", "redis")  # what it has to leave out, besides the frameworks


def run() -> list[Figure]:
    dependencies: list[float] = []
    core: list[float] = []
    streaming: list[float] = []
    # A cache of bytecode for both, as an installation has one: a source tree may be without.
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for round_ in range(ROUNDS + 1):
            times = [_seconds(statement, environment) for statement in (_DEPENDENCIES, _CORE, _STREAMING)]
            if round_:  # the first round fills the cache
                for measured, seconds in zip((dependencies, core, streaming), times, strict=True):
                    measured.append(seconds)
    ratio = statistics.median(core) / statistics.median(dependencies)
    with_streams = statistics.median(streaming) / statistics.median(dependencies)
    return [
        only("import of the dependencies (CPU)", statistics.median(dependencies) * 1000, "ms", f"median of {ROUNDS}"),
        only("import of the core with them (CPU)", statistics.median(core) * 1000, "ms", f"median of {ROUNDS}"),
        at_most("core / dependencies", ratio, 1.10),
        only("core with the endpoints / dependencies", with_streams, "x", "all that an adapter loads of the core"),
        at_most("frameworks it imports", len(_imported()), 0, "", ", ".join(_imported())),
    ]


def _seconds(statement: str, environment: dict[str, str]) -> float:
    program = f"import time; started = time.process_time()\n{statement}\nprint(time.process_time() - started)"
    return float(_output(program, environment))


def _imported() -> list[str]:
    names = (*_adapters(), *_BESIDE)
    program = f"import sys\n{_CORE}\nprint(*(name for name in {names!r} if name in sys.modules))"
    return _output(program, dict(os.environ)).split()


def _adapters() -> list[str]:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    (names,) = re.findall(r"^adapters = (\[.*\])$", text, re.MULTILINE)
    listed: list[str] = json.loads(names)
    return listed


def _output(program: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
