"""The HTTP contract of `Endpoints`, tested over real HTTP against every framework's adapter.

To add a framework: write `apps/<framework>.py` with an application that serves what `site.py` declares, and add a
line to `CASES` in `servers.py`.
"""
