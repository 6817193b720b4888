"""No thread for a synchronous `authorize`: while one waits, nobody is served."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from conformance.wrong.adapter import Adapter
from inngest_realtime_starlette.requests import HOST


async def on_the_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


class AuthorizeOnTheLoop(Adapter):
    host = dataclasses.replace(HOST, run_in_thread=on_the_loop)


app = AuthorizeOnTheLoop().app()
