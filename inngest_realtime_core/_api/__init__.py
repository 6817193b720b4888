"""HTTP calls to Inngest: tokens and publishing."""

from __future__ import annotations
