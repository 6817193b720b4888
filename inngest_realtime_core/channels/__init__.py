"""Typed channels and topics: declarations, and what callers give in their place."""

from __future__ import annotations

from .channel import Channel, Topic, TopicRef, topic
from .parameter import Parameter

__all__ = ["Channel", "Parameter", "Topic", "TopicRef", "topic"]
