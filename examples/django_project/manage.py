"""Django's command line for the example project: `INNGEST_DEV=1 python manage.py runserver`, say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The pipeline and its page are shared by all examples, one directory up.
sys.path.insert(1, str(Path(__file__).parent.parent))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
