"""One benchmark in a fresh process, so that none inherits another's memory, imports or event loop."""

from __future__ import annotations

import importlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from .report import Figure

__all__ = ["isolated"]


def isolated(name: str) -> list[Figure]:
    """Run the benchmark of this name and return its figures."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, name).result()


def _measure(name: str) -> list[Figure]:
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").run()
    return figures
