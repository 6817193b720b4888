"""How the demo starts what it needs: an embedded Inngest unless there is a real one, and each framework's server."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Generator
from pathlib import Path

HERE = Path(__file__).parent
VARIABLES = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV")


@contextlib.contextmanager
def inngest() -> Generator[str, None, None]:
    """Says which Inngest is used. Starts the embedded server when the environment names none."""
    named = next((name for name in VARIABLES if os.environ.get(name)), None)
    if named is not None:
        yield f"the one that {named} names"
        return
    from inngest_realtime_devserver.server import DevServer

    with DevServer().in_thread() as server:
        # The applications read it, exactly as they would for a real server.
        os.environ["INNGEST_DEV"] = server.url
        try:
            yield f"embedded, at {server.url}"
        finally:
            del os.environ["INNGEST_DEV"]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _uvicorn(app: str) -> Callable[[int], None]:
    def serve(port: int) -> None:
        import uvicorn

        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")

    return serve


def _flask(port: int) -> None:
    import logging

    from flask_app import app

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run("127.0.0.1", port, threaded=True)


def _django(port: int) -> None:
    from django.core.management import execute_from_command_line

    sys.path.insert(0, str(HERE / "django_project"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    execute_from_command_line(["manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"])


SERVE: dict[str, Callable[[int], None]] = {
    "fastapi": _uvicorn("fastapi_app:app"),
    "starlette": _uvicorn("starlette_app:app"),
    "flask": _flask,
    "django": _django,
}
"""Framework -> a function that serves its example on a port until SIGINT."""
