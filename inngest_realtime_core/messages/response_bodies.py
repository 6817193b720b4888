"""Messages that a framework's own response is given: it wants bytes, and some would send what `str()` makes of them."""

from __future__ import annotations

import sys
from typing import Final

from ..errors import ConfigurationError

# Where Starlette's (FastAPI's), Django's and Flask's responses iterate what they are given.
_RESPONSES: Final = frozenset(
    {
        "starlette.responses",
        "starlette.concurrency",
        "django.http.response",
        "werkzeug.wrappers.response",
        "flask.helpers",
    }
)


def check_is_no_body() -> None:
    """Called by what a reader of messages calls.

    Raises:
        ConfigurationError: That reader is a framework's own response.
    """
    if sys._getframe(2).f_globals.get("__name__") in _RESPONSES:  # pyright: ignore[reportPrivateUsage] - documented
        raise ConfigurationError(
            "A response was given messages, and streams bytes only. Give it an encoded stream of the subscription "
            "(get_event_stream(), get_encoded_stream()), or the subscription to a response of this package "
            "(RealtimeStreamingResponse, Flask: sse_response); a generator of your own yields message.to_event()."
        )
