"""`python -m inngest_realtime_devserver`: the embedded server as a program."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from inngest_realtime_core.errors import ConfigurationError

from .server import DevServer

__all__ = ["main"]


_PROGRAM = "python -m inngest_realtime_devserver"


def main(arguments: Sequence[str] | None = None, *, program: str = _PROGRAM) -> int:
    """Serve until SIGINT or SIGTERM. The result is the process's exit status."""
    options = _parser(program).parse_args(arguments)
    try:
        server = DevServer(
            options.host,
            options.port,
            signing_key=options.signing_key,
            signing_key_fallback=options.signing_key_fallback,
            registration_delay=options.registration_delay,
            keepalive=options.keepalive,
            token_ttl=options.token_ttl,
            closing_grace=options.closing_grace,
        )
        asyncio.run(_serve(server))
    except KeyboardInterrupt:
        pass
    except (ConfigurationError, OSError) as error:
        print(f"The server could not start on {options.host} port {options.port}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(server: DevServer) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stopping.set)
        except NotImplementedError:  # Windows: Ctrl+C raises KeyboardInterrupt there
            pass
    async with server:
        print(f"Inngest Realtime server for DEVELOPMENT ONLY, listening on {server.url}", flush=True)
        print(f"Point your application to it: INNGEST_DEV={server.url}  (Ctrl+C stops it)", flush=True)
        await stopping.wait()


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="The embedded Inngest Realtime server (token, publish, connect, sse). For development only.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8288, help="port to listen on; 0 takes a free one")
    add("--signing-key", help="require this signing key, as `inngest start` does")
    add("--signing-key-fallback", help="accept this signing key too")
    add("--registration-delay", type=float, default=0.0, help="seconds from connect to subscription")
    add("--keepalive", type=float, default=15.0, help="seconds between pings")
    add("--token-ttl", type=float, default=60.0, help="seconds for which a token is valid")
    add("--closing-grace", type=float, default=300.0, help="seconds from the closing frame to the end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
