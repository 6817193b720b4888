"""A sentence instead of a traceback where an extra is not installed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def extra(name: str, package: str) -> Generator[None, None, None]:
    """For the imports of `package` that need what the extra `name` installs.

    Raises:
        ModuleNotFoundError: Something of it is missing; the message says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing.startswith("inngest_realtime"):
            raise
        raise ModuleNotFoundError(
            f"{package} needs {missing}, which is not installed. Install the extra: "
            f'pip install "inngest-realtime[{name}]"',
            name=error.name,
        ) from error
