"""The HTTP contract that every adapter serves, without a framework. For writers of adapters."""

from __future__ import annotations

from ..subscriptions.fragments import Render
from .answers import Answer, StreamAnswer, SyncStreamAnswer, stream_headers
from .authorize import Host
from .endpoints import Endpoints
from .errors import EndpointError
from .fragments import TemplateEnvironment, template_fragments
from .grants import Authorize, Grant, allow_anyone
from .options import EndpointOptions, OptionsDict
from .own_route import OwnRoute
from .request import EndpointRequest
from .selection import resume_point

__all__ = [
    "Answer",
    "Authorize",
    "EndpointError",
    "EndpointOptions",
    "EndpointRequest",
    "Endpoints",
    "Grant",
    "Host",
    "OptionsDict",
    "OwnRoute",
    "Render",
    "StreamAnswer",
    "SyncStreamAnswer",
    "TemplateEnvironment",
    "allow_anyone",
    "resume_point",
    "stream_headers",
    "template_fragments",
]
