"""Ports for servers that are told theirs."""

from __future__ import annotations

import itertools
import os
import random
import socket

__all__ = ["free_port"]

# Below those that systems hand out by themselves: one of these, found free by binding to port 0, is handed out again to
# whoever binds or connects before the server has started, which takes it seconds. Each worker of a run has a part.
_FIRST = 12_000
_EACH = 1_250
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
# Runs beside each other begin elsewhere.
_offsets = itertools.count(random.SystemRandom().randrange(_EACH))


def free_port() -> int:
    """A port of this machine that nobody listens on, and that nobody else is given."""
    while True:
        port = _FIRST + _WORKER * _EACH + next(_offsets) % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
