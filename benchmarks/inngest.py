"""The embedded server in a process of its own, commanded over pipes: `stats` and `drop` on a line each."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

from inngest_realtime_devserver.server import DevServer

__all__ = ["Inngest"]


class Inngest:
    """The process.

    Attributes:
        url: The server's address.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.inngest"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url: str = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, command: str) -> Any:
        """Give a command and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stats(self) -> dict[str, int]:
        return self.ask("stats")

    def __enter__(self) -> Inngest:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _main() -> None:
    with DevServer().in_thread() as server:
        print(json.dumps(server.url), flush=True)
        for line in sys.stdin:
            if line.strip() == "drop":
                server.drop_connections()
            print(json.dumps(dataclasses.asdict(server.stats())), flush=True)


if __name__ == "__main__":
    _main()
