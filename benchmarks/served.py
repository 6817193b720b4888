"""One of the applications of `site.py` in a process of its own, with its clients and its source of messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from .browsers import Browsers
from .firehose import Firehose
from .site import PATH

__all__ = ["Served"]


class Served:
    """A server, its clients, and an Inngest of its own.

    Args:
        name: One of `SITES`.
        clients: How many.
    """

    def __init__(self, name: str, clients: int) -> None:
        self.clients = clients
        self.inngest = Firehose(1_000)
        command = [sys.executable, "-m", "benchmarks.site", name, self.inngest.url]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        try:
            self.browsers = Browsers(int(self._server.stdout.readline()), PATH, clients)
        except BaseException:
            self._stop()
            raise

    def cpu(self) -> float:
        """Seconds of the processor's time that the server has used."""
        precise = Path(f"/proc/{self._server.pid}/schedstat")
        if precise.exists():
            # In nanoseconds, of the main thread, which is the only one that works here.
            return int(precise.read_text().split()[0]) / 1e9
        times = psutil.Process(self._server.pid).cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        self.browsers.close()
        self._stop()

    def _stop(self) -> None:
        self._server.terminate()
        self._server.wait()
        self.inngest.stop()
