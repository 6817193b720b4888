"""`client.js`, as the endpoints serve it."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files
from typing import Final

from .answers import Answer
from .request import EndpointRequest

# Asked for again after a minute, and then answered with 304 until a new version of this package is deployed.
_CACHE_CONTROL: Final = "public, max-age=60, stale-while-revalidate=86400"


def client_file(request: EndpointRequest) -> Answer:
    """The module, or 304 for who has it already."""
    content, etag = _read()
    headers = {"ETag": etag, "Cache-Control": _CACHE_CONTROL, "X-Content-Type-Options": "nosniff"}
    known = request.headers.get("if-none-match", "")
    if etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Answer(304, headers, b"")
    headers |= {"Content-Type": "text/javascript; charset=utf-8", "Content-Length": str(len(content))}
    return Answer(200, headers, b"" if request.method == "HEAD" else content)


@functools.cache
def _read() -> tuple[bytes, str]:
    content = files(__package__ or "").joinpath("client.js").read_bytes()
    return content, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
