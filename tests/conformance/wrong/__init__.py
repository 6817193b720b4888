"""Adapters that are wrong on purpose: each breaks one promise. `tests/test_wrong_adapters.py` says what catches it."""
