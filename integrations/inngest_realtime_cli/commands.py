"""`inngest-realtime`: follow a channel, publish to it, mint a token, and find out what is wrong, from a terminal.

Nothing else imports this module. Where Inngest is and how to sign comes from the environment, as for `Realtime()`. A
signing key is never an argument: lists of processes show those.

Exit statuses: 0, 1 for what failed (one line on stderr says why), 2 for wrong arguments, 130 after Ctrl-C. Whoever
reads the output may leave early (`| head -1`): that is an end like any other, with 0. A full disk is a failure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from inngest_realtime_core.errors import RealtimeError
from inngest_realtime_core.extras import extra
from inngest_realtime_core.realtime import Realtime
from inngest_realtime_core.version import __version__

from . import doctor, types
from .output import colours, is_terminal, write
from .tail import readable

__all__ = ["run"]

_PROGRAM = "inngest-realtime"
_EPILOG = (
    "The environment says where Inngest is and how to sign: INNGEST_DEV, INNGEST_API_BASE_URL, INNGEST_BASE_URL, "
    "INNGEST_SIGNING_KEY, INNGEST_SIGNING_KEY_FALLBACK, INNGEST_ENV. Exit status: 0; 1 for what failed; 2 for wrong "
    "arguments; 130 after Ctrl-C (devserver: 0)."
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; None takes the process's own arguments. The result is the process's exit status."""
    _open_streams()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else list(arguments))
        finally:
            # Else it would be the interpreter that fails, at its end and with a traceback.
            sys.stdout.flush()
    except RealtimeError as error:
        _complain(str(error))
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        _complain(f"the output could not be written: {error.strerror or error}")
    return 1


def _open_streams() -> None:
    # Where the shell has closed one (`>&-`) it is None: what is written fails then, as on a full disk, and complaints
    # do not end up in the output.
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, mode), "w"))


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["devserver"]:
        return _devserver(arguments[1:])
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _complain(text: str) -> None:
    print(f"{_PROGRAM}: {' '.join(text.split())}", file=sys.stderr)


def _with_realtime(use: Callable[[Realtime, argparse.Namespace], None], options: argparse.Namespace) -> int:
    realtime = Realtime(api_base_url=options.api_base_url)
    try:
        use(realtime, options)
    finally:
        realtime.close_sync()
    return 0


def _tail(realtime: Realtime, options: argparse.Namespace) -> None:
    pretty, coloured = is_terminal() and not options.json, colours()
    with realtime.subscribe_sync(channel=options.channel, topics=options.topics) as subscription:
        print(f"Listening to {subscription.channel} ({', '.join(subscription.topics)}).", file=sys.stderr, flush=True)
        for number, message in enumerate(subscription, 1):
            write(readable(message, colours=coloured) if pretty else message.to_json())
            if number == options.limit:
                return


def _token(realtime: Realtime, options: argparse.Namespace) -> None:
    token = realtime.get_client_subscription_token_sync(channel=options.channel, topics=options.topics)
    write(json.dumps(token.to_dict()).encode())


def _publish(realtime: Realtime, options: argparse.Namespace) -> None:
    realtime.publish_sync((options.channel, options.topic), options.data)


def _devserver(arguments: list[str]) -> int:
    try:
        with extra("cli", "The embedded server"):
            importlib.import_module("inngest_realtime_devserver.server")
            from inngest_realtime_devserver.__main__ import main as serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("inngest_realtime"):
            raise
        _complain(str(error))
        return 1
    return serve(arguments, program=f"{_PROGRAM} devserver")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description="Inngest Realtime from a terminal.", epilog=_EPILOG)
    version = f"{_PROGRAM} {__version__} (Python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, epilog=_EPILOG)
        added.set_defaults(run=run)
        return added

    def on_a_channel(
        name: str, use: Callable[[Realtime, argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = command(name, partial(_with_realtime, use), text)
        added.add_argument("--api-base-url", metavar="URL", help="the address of Inngest, instead of the environment's")
        added.add_argument("channel", metavar="CHANNEL", help="the channel's name, such as pipeline:abc123")
        return added

    tail = on_a_channel(
        "tail",
        _tail,
        "Print what arrives on a channel, gaps included: readable on a terminal, else a line of JSON for each message.",
    )
    tail.add_argument("topics", metavar="TOPIC", nargs="+", help="a topic's name")
    tail.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")
    tail.add_argument("--limit", type=_count, metavar="N", help="end after so many messages")

    token = on_a_channel(
        "token",
        _token,
        'Mint a token for a browser and PRINT it: {"key": ..., "apiBaseUrl": ...}. Whoever has it can subscribe to '
        "these topics for a minute.",
    )
    token.add_argument("topics", metavar="TOPIC", nargs="+", help="a topic's name")

    publish = on_a_channel("publish", _publish, "Publish a message.")
    publish.add_argument("topic", metavar="TOPIC", help="the topic's name")
    publish.add_argument("data", metavar="JSON", type=_json, help="""what to publish: '{"done": 3}', '"a text"', 7""")

    # It takes its arguments itself: its options can be known only where the extra is installed.
    commands.add_parser("devserver", add_help=False, help="Run the embedded server, for development (extra: cli).")
    doctor.add_arguments(command("doctor", doctor.run, doctor.HELP))
    types.add_arguments(command("types", types.run, types.HELP))
    return parser


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError("expected a whole number of at least 1")
    return number


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"this is not JSON ({error}); a text needs quotes: '\"text\"'") from None
