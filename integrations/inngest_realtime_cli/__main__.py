"""`python -m inngest_realtime_cli`: the same as the command `inngest-realtime`."""

from __future__ import annotations

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
