"""For Django REST framework: what an `@api_view` or `APIView` needs to stream.

An `EventSource` accepts `text/event-stream` alone, so that the framework answers it with 406 before the view runs,
unless one of the view's renderers makes that type.

```python
@api_view(["GET"])
@renderer_classes([JSONRenderer, EventStreamRenderer])
def progress(request: Request, run_id: str) -> RealtimeStreamingResponse:
    return RealtimeStreamingResponse(request, realtime.subscribe(channel=Pipeline(run_id=run_id)))
```
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["EventStreamRenderer"]


class EventStreamRenderer:
    """Lets a view be asked for an event stream; what it answers in place of one, an error, is JSON."""

    media_type = "text/event-stream"
    format = "event-stream"
    charset = None
    render_style = "text"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        response: Any = (renderer_context or {}).get("response")
        if response is not None:
            response.content_type = "application/json"
            response["Content-Type"] = "application/json"
        return b"" if data is None else json.dumps(data, default=str).encode()
