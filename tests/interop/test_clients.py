"""The npm packages that people use, against every adapter on a real server."""
# Run by `nox -s interop`, which installs them.

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.servers import CASES, ServerCase, running
from inngest_realtime_devserver.server import DevServer
from interop.conftest import Node, node_test

NAMES = ("starlette-uvicorn", "fastapi-uvicorn", "django-uvicorn", "django-gunicorn", "flask-gunicorn")


@pytest.fixture(scope="module", params=[case for case in CASES if case.name in NAMES], ids=lambda case: case.name)
def urls(request: pytest.FixtureRequest, node: Node, packages: Path) -> Iterator[dict[str, str]]:
    case: ServerCase = request.param
    with DevServer().in_thread() as inngest, running(case, inngest.url, CONFORMANCE_HEARTBEAT="0.5") as server:
        yield {"APP_URL": server.url, "INNGEST_URL": inngest.url}


@pytest.mark.parametrize(("file", "tests"), [("sdk.test.mjs", 4), ("sse.test.mjs", 8)])
def test_clients_in_node(file: str, tests: int, urls: dict[str, str], node: Node) -> None:
    # The old package looks for the address in INNGEST_DEV when it is imported.
    options = {"NODE_OPTIONS": "--experimental-websocket --no-warnings", "INNGEST_DEV": urls["INNGEST_URL"]}
    assert node_test(node, file, env={**urls, **options}) == tests
