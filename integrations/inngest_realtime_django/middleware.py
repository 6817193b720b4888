"""A middleware that answers the `RealtimeError`s of a project's own views.

```python
MIDDLEWARE = [..., "inngest_realtime_django.middleware.RealtimeErrorMiddleware"]
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from inngest_realtime_core import RealtimeError
from inngest_realtime_core.endpoints import Answer

from .responses import response_for

__all__ = ["RealtimeErrorMiddleware"]


class RealtimeErrorMiddleware:
    """Answers a `RealtimeError` of a view as the endpoints do, in JSON: a `ChannelError` is a 422, and so on."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        if isinstance(exception, RealtimeError):
            return response_for(request, Answer.from_error(exception))
        return None
