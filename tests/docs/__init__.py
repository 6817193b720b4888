"""The documentation, run as it stands: every code block of every page."""
