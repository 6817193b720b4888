"""Inngest Realtime for Starlette: token and stream routes, an event-stream response, an optional lifespan."""

from __future__ import annotations

from inngest_realtime_core.endpoints.grants import Grant, allow_anyone

from .lifespan import realtime_lifespan
from .responses import RealtimeStreamingResponse
from .routing import realtime_routes

__all__ = ["Grant", "RealtimeStreamingResponse", "allow_anyone", "realtime_lifespan", "realtime_routes"]
