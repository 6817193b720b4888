"""The endpoints under FastAPI do what its OpenAPI document says, whatever a generator makes of that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from fastapi import FastAPI, HTTPException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conformance import site
from conformance.serving import serving
from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_fastapi import realtime_router

GRANTS = {"pipeline", "room", "news", "full", "rendered"}
SETTINGS = settings(max_examples=100, suppress_health_check=list(HealthCheck))
CHECKS: Any = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def document() -> Iterator[Any]:
    """The document of a real server."""
    with DevServer().in_thread() as inngest:
        realtime = Realtime(api_base_url=inngest.url)
        app = FastAPI()
        grants = [grant for grant in site.grants(HTTPException) if grant.name in GRANTS]
        app.include_router(realtime_router(realtime, grants), prefix=site.PREFIX)
        with serving(app) as url:
            yield schemathesis.openapi.from_url(f"{url}/openapi.json")
            realtime.begin_shutdown()


def cases(document: Any, endpoint: str) -> Any:
    """Cases of each operation whose path ends so, those that break the document included."""
    operations = [result.ok() for result in document.get_all_operations()]
    chosen = [operation for operation in operations if operation.path.endswith(f"/{endpoint}")]
    assert len(chosen) >= len(GRANTS)
    modes = list(schemathesis.GenerationMode)
    return st.one_of(operation.as_strategy(generation_mode=mode) for operation in chosen for mode in modes)


def test_tokens_are_as_documented(document: Any) -> None:
    @SETTINGS
    @given(cases(document, "token"))
    def check(case: Any) -> None:
        case.call_and_validate(timeout=20, checks=CHECKS)

    check()


def test_streams_are_as_documented(document: Any) -> None:
    @SETTINGS
    @given(cases(document, "stream"))
    def check(case: Any) -> None:
        # A stream goes on: only its beginning is read.
        with requests.request(**case.as_transport_kwargs(), stream=True, timeout=20) as response:
            documented = case.operation.definition.raw["responses"]
            assert str(response.status_code) in documented, (response.status_code, response.text)
            kind = response.headers["content-type"].partition(";")[0]
            assert kind in documented[str(response.status_code)]["content"]
            if response.status_code == 200:
                assert next(response.iter_lines()).startswith((b"retry: ", b"event: "))

    check()
