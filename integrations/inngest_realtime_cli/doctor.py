"""`inngest-realtime doctor`: what is wrong between this machine and Inngest, or in front of a stream, in words."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator

from inngest_realtime_core.realtime import Realtime

from .finding import Finding, Level
from .inngest_checks import check_inngest
from .output import BOLD, GREEN, RED, YELLOW, colours, paint, write
from .stream_checks import check_stream

__all__ = ["HELP", "add_arguments", "run"]

HELP = "Say what is wrong between this machine and Inngest, or in front of an event stream (--stream-url)."
_COLOURS = {Level.OK: GREEN, Level.NOTE: YELLOW, Level.PROBLEM: RED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("--api-base-url", metavar="URL", help="the address of Inngest, instead of the environment's")
    parser.add_argument(
        "--stream-url",
        metavar="URL",
        help="the address of an event stream of your application, as browsers reach it: is it buffered on its way?",
    )
    parser.add_argument(
        "--header",
        metavar="NAME:VALUE",
        type=_header,
        action="append",
        default=[],
        help="a header for the stream's request, such as a cookie; lists of processes show it",
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=_seconds, default=25.0, help="how long to wait for heartbeats (default: 25)"
    )


def run(options: argparse.Namespace) -> int:
    """Checks, and prints a line for each finding. Returns the exit status: 1 when there is a problem."""
    return asyncio.run(_report(options))


async def _report(options: argparse.Namespace) -> int:
    status, coloured = 0, colours()
    async for finding in _findings(options):
        if finding.level is Level.PROBLEM:
            status = 1
        level = paint(f"{finding.level.value:<8}", _COLOURS[finding.level], enabled=coloured)
        write(f"{level} {paint(finding.subject, BOLD, enabled=coloured)}: {finding.text}".encode())
    return status


async def _findings(options: argparse.Namespace) -> AsyncIterator[Finding]:
    if options.stream_url is not None:
        async for finding in check_stream(options.stream_url, options.header, wait=options.wait):
            yield finding
        return
    async with Realtime(api_base_url=options.api_base_url, linger=0) as realtime:
        async for finding in check_inngest(realtime, given=options.api_base_url is not None):
            yield finding


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not (text.isascii() and text.isprintable()):
        raise argparse.ArgumentTypeError("expected NAME:VALUE in printable ASCII")
    return name.strip(), value.strip()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3_600:
        raise argparse.ArgumentTypeError("expected 0.1 to 3600 seconds")
    return value
