"""The HTTP contract that every adapter serves, without a framework."""

from __future__ import annotations

from .answers import Answer, StreamAnswer, SyncStreamAnswer
from .endpoints import Endpoints
from .errors import EndpointError
from .grants import Grant, allow_anyone

__all__ = ["Answer", "EndpointError", "Endpoints", "Grant", "StreamAnswer", "SyncStreamAnswer", "allow_anyone"]
