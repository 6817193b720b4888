"""`python -m inngest_realtime_devserver`: the embedded server as a program.

Exit statuses: 0 after SIGINT and SIGTERM, 1 for what failed (one line on stderr says why), 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.extras import extra

from .options import SECONDS

if TYPE_CHECKING:
    from .server import DevServer

__all__ = ["main"]


_PROGRAM = "python -m inngest_realtime_devserver"


def main(arguments: Sequence[str] | None = None, *, program: str = _PROGRAM) -> int:
    """Serve until SIGINT or SIGTERM. The result is the process's exit status."""
    options = _parser(program).parse_args(arguments)
    try:
        with extra("devserver", "The embedded server"):
            from .server import DevServer
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("inngest_realtime"):
            raise
        print(error, file=sys.stderr)
        return 1
    try:
        server = DevServer(
            # From the environment, as `inngest start` takes them: lists of processes show arguments.
            signing_key=os.environ.get("INNGEST_SIGNING_KEY") or None,
            signing_key_fallback=os.environ.get("INNGEST_SIGNING_KEY_FALLBACK") or None,
            record=0,
            **vars(options),
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
        _announce(
            f"Inngest Realtime server for DEVELOPMENT ONLY, listening on {server.url}",
            f"Point your application to it: INNGEST_DEV={server.url}  (Ctrl+C stops it)",
            "Requests need the signing key of INNGEST_SIGNING_KEY." if server.requires_key else "No key is needed.",
        )
        await stopping.wait()


def _announce(*lines: str) -> None:
    # Whoever started it may not read this, or have no room to write it to: the server serves all the same.
    try:
        print(*lines, sep="\n", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="The embedded Inngest Realtime server (token, publish, connect, sse). For development only.",
        epilog="With INNGEST_SIGNING_KEY (and INNGEST_SIGNING_KEY_FALLBACK) in the environment, requests need it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; another than loopback needs --allow-remote")
    add("--port", type=_port, default=8288, help="port to listen on; 0 takes a free one")
    add("--allow-remote", action="store_true", help="let other machines and web pages of any origin call")
    add(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="refuse to mint tokens for holders of a mere subscription token; `inngest start` was seen to do it",
    )
    seconds = {
        "registration-delay": (0.0, "seconds from connect to subscription"),
        "keepalive": (15.0, "seconds between pings"),
        "token-ttl": (60.0, "seconds for which a token is valid"),
        "closing-grace": (300.0, "seconds from the closing frame to the end"),
    }
    for name, (default, text) in seconds.items():
        add(f"--{name}", type=_seconds(name), default=default, help=text)
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > 65_535:
        raise argparse.ArgumentTypeError("expected a whole number from 0 to 65535")
    return int(text[:6])


def _seconds(name: str) -> Callable[[str], float]:
    least, most = SECONDS[name.replace("-", "_")]

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {least:g} to {most:g} seconds")
        return value

    return convert


if __name__ == "__main__":
    sys.exit(main())
