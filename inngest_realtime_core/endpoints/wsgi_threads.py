"""The threads of a WSGI server: an open stream occupies one of them."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any, Final

from .._concurrency.threads import greenlets
from .._telemetry.throttled_log import ThrottledLog
from .errors import EndpointError
from .limits import StreamSlots

logger: logging.Logger = logging.getLogger("inngest_realtime.endpoints")

_WAITRESS: Final = "waitress-"  # how its threads are named

_INTERVAL: Final = 60.0  # seconds between two lines about threads that are taken
_log = ThrottledLog(logger, _INTERVAL)


def is_single_threaded(environ: Mapping[str, Any]) -> bool:
    """Whether the server answers one request at a time, so that an open stream would be all that it serves.

    Only a server that says who it is: the test clients of frameworks say false, too, and gevent's own server.
    """
    return bool(environ.get("SERVER_SOFTWARE")) and not environ.get("wsgi.multithread", True) and not greenlets()


def single_threaded() -> EndpointError:
    """What a stream is answered with where the server answers one request at a time; logged."""
    logger.error(
        "An event stream was refused: this server answers one request at a time (wsgi.multithread is False), and an "
        "open stream would be all that it serves. Run it with threads: gunicorn --worker-class gthread --threads 32, "
        "or with gevent.",
        extra={"event": "server.single_threaded"},
    )
    message = "This server answers one request at a time, so it cannot stream. Its log says what to do."
    return EndpointError(503, "single_threaded_server", message)


def check_limit(limit: int | None) -> None:
    """Logs a warning when as many streams may be open as the server has threads, or more.

    Args:
        limit: The most streams that this process opens; None for no limit.
    """
    threads = server_threads()
    if threads is not None and (limit is None or limit >= threads):
        allowed = "any number of streams" if limit is None else f"{limit} streams"
        logger.warning(
            "max_streams allows %s, and this server has %s threads: streams can occupy all of them, and nothing else "
            "would be served then. Give it more than max_streams (gunicorn --threads %s), or set max_streams=%s.",
            allowed,
            threads,
            2 * (limit or 16),
            max(threads // 2, 1),
            extra={"event": "server.few_threads"},
        )


def server_threads() -> int | None:
    """Returns how many requests this process serves at once. To be called in the thread that serves one.

    None where nothing tells, where greenlets serve, and where each request gets a thread of its own. gunicorn,
    waitress, mod_wsgi and uWSGI tell, each in its own way; no WSGI environment does.
    """
    if greenlets():
        return None
    if (uwsgi := sys.modules.get("uwsgi")) is not None:  # made by the server itself
        return int(uwsgi.opt.get("threads", 1))
    if (mod_wsgi := sys.modules.get("mod_wsgi")) is not None and hasattr(mod_wsgi, "threads_per_process"):
        return int(mod_wsgi.threads_per_process)
    if threading.current_thread().name.startswith(_WAITRESS):
        # It starts all of them at once.
        return sum(thread.name.startswith(_WAITRESS) for thread in threading.enumerate())
    return _gunicorn_threads()


def _gunicorn_threads() -> int | None:
    base: Any = sys.modules.get("gunicorn.workers.base")
    if base is None:
        return None
    frame = inspect.currentframe()
    while frame is not None:
        # Its worker has called the application; frames of others are not looked into.
        if str(frame.f_globals.get("__name__")).startswith("gunicorn.workers."):
            worker: Any = frame.f_locals.get("self")
            if isinstance(worker, base.Worker):
                return int(worker.cfg.threads)
        frame = frame.f_back
    return None


_taken: Final = StreamSlots(None, None)  # the threads of this process that streams occupy


def counted(body: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    """The body, with a warning in the log when open streams leave the server one thread or none."""
    threads = server_threads()
    return body if threads is None else _counted(body, threads)


def _counted(body: Generator[bytes, None, None], threads: int) -> Generator[bytes, None, None]:
    with closing(body):
        _taken.acquire(None)
        try:
            if (taken := _taken.used) >= threads - 1:
                message = (
                    f"Open event streams occupy {taken} of the {threads} threads of this server process. Give it more "
                    "(gunicorn --threads), or lower max_streams."
                )
                _log.write(logging.WARNING, "threads", message, event="server.threads_taken")
            yield from body
        finally:
            _taken.release(None)
