"""What is told to logs and to observers such as metrics."""

from __future__ import annotations
