"""Runs a page's Python blocks in one process: `python run_page.py BLOCKS.json`, in an empty directory.

Each entry is a pair of a title and the code. A titled block is a file, which is imported; any other is executed as
if it were typed into a console that knows `await`, after those before it.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

_STARTED = "INSTALLED_APPS = []\n"  # in the settings that `startproject` makes, which a page may add to


def main(path: str) -> None:
    blocks: list[tuple[str, str]] = json.loads(Path(path).read_text())
    sys.path.insert(0, os.getcwd())
    settings = next((title for title, _ in blocks if title.endswith("settings.py")), None)
    for title, code in blocks:
        if title:
            file = Path(title)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_STARTED + code if title == settings else code)
    if settings is not None:
        _set_up_django(settings)
    namespace: dict[str, Any] = {"__name__": "__console__"}
    with asyncio.Runner() if sys.version_info >= (3, 11) else _Runner() as runner:
        for number, (title, code) in enumerate(blocks):
            print(f"-- block {number}: {title or 'console'}", flush=True)
            if title:
                _import(title, code)
                continue
            compiled = compile(code, f"block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(compiled, namespace)
            if inspect.iscoroutine(result):
                runner.run(result)


def _import(title: str, code: str) -> None:
    if not title.endswith(".py") or title == "manage.py" or Path(title).name.startswith(("test_", "conftest")):
        return
    if not title.endswith("settings.py"):
        Path(title).write_text(code)
    name = title.removesuffix(".py").replace("/", ".")
    importlib.invalidate_caches()
    if name in sys.modules:
        importlib.reload(sys.modules[name])
    else:
        importlib.import_module(name)


def _set_up_django(settings: str) -> None:
    import django
    from django.conf import settings as configured

    module = importlib.import_module(settings.removesuffix(".py").replace("/", "."))
    # What `startproject` has made already.
    made = {"SECRET_KEY": "documentation", "DEBUG": True, "ALLOWED_HOSTS": ["*"], "ROOT_URLCONF": "mysite.urls"}
    names = {name: getattr(module, name) for name in dir(module) if name.isupper()}
    configured.configure(**{**made, **names})
    django.setup()


class _Runner:
    """`asyncio.Runner` for Python 3.10."""

    def __enter__(self) -> _Runner:
        self._loop = asyncio.new_event_loop()
        return self

    def run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


if __name__ == "__main__":
    main(sys.argv[1])
