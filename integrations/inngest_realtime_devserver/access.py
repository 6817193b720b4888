"""Who may call the server: this machine only, and no web page from elsewhere that a browser on it shows."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["is_loopback", "is_loopback_origin", "is_loopback_url"]


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, means this machine and nothing else."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        # ipaddress knows the zone of an IPv6 address: an IPv4 address with more behind it is a name.
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_loopback_url(url: str) -> bool:
    """Whether an address such as `http://127.0.0.1:8288` is on this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def is_loopback_origin(host: str, origin: str) -> bool:
    """Whether a request with these Host and Origin headers, the latter empty when there is none, comes from this
    machine. The Host is looked at because of DNS rebinding: a page whose name was made to mean 127.0.0.1 sends its own.
    """
    # A host and a port alone: with more the name in a URL is another one.
    alone = not set(host) & set("/?#@\\")
    return alone and is_loopback_url(f"http://{host}") and (not origin or is_loopback_url(origin))
