"""The same as `inngest_realtime_core`, under the distribution's own name."""

from __future__ import annotations

from inngest_realtime_core import *  # noqa: F403 - it is an alias, of whatever is public
from inngest_realtime_core import __all__ as __all__
