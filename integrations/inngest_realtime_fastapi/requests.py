"""FastAPI's own ways. Its requests are Starlette's."""

from __future__ import annotations

from dataclasses import replace

from inngest_realtime_core.endpoints import Host
from inngest_realtime_starlette.requests import HOST as STARLETTE

# An HTTPException is left to FastAPI, which answers it in JSON, or as the application has said.
HOST = replace(STARLETTE, endpoint_error=Host.endpoint_error)
