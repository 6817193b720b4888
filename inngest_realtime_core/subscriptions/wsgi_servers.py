"""Whether a WSGI server reads a stream: it sends the headers with the first bytes, which may be long in coming."""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import Final

# Where they iterate a response, and what runs a WSGI application behind an ASGI server.
_SERVERS: Final = (
    *("gunicorn.workers.", "waitress.", "werkzeug.serving", "wsgiref.handlers", "gevent.pywsgi", "granian."),
    *("cheroot.", "asgiref.wsgi", "a2wsgi.", "uvicorn.middleware.wsgi"),
)


def read_by_server() -> bool:
    """Whether the running code is iterated by a WSGI server, rather than by an application that it has called."""
    frame = inspect.currentframe()
    while frame is not None:
        if f"{frame.f_globals.get('__name__')}.".startswith(_SERVERS):
            return True
        if _is_application(frame):
            return False
        frame = frame.f_back
    # No frame is theirs: they are written in C, and make a module.
    return "uwsgi" in sys.modules or hasattr(sys.modules.get("mod_wsgi"), "threads_per_process")


def _is_application(frame: FrameType) -> bool:
    code = frame.f_code
    return "start_response" in code.co_varnames[: code.co_argcount] and not code.co_flags & inspect.CO_GENERATOR
