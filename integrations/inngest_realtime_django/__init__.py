"""Inngest Realtime for Django: an app with token and stream views, a streaming response, system checks, a command.

Django 4.2 or newer, under ASGI and WSGI. Importing this needs no settings.
"""

from __future__ import annotations

from inngest_realtime_core.endpoints.grants import Grant, allow_anyone

from .responses import RealtimeStreamingResponse

__all__ = ["Grant", "RealtimeStreamingResponse", "allow_anyone"]
