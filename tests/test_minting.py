from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from inngest_realtime_core import Realtime, UnreachableError
from inngest_realtime_core.devserver import DevServer
from inngest_realtime_core.minting import MintedToken

# Signed by itself, so nobody has a reason to trust it.
UNTRUSTED = Path(__file__).parent / "certificates" / "untrusted.pem"


async def test_a_server_that_cannot_be_trusted_is_told_nothing(server: DevServer, channel: str) -> None:
    """Though the `Realtime` itself, and what it asked before, needs no encryption."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(UNTRUSTED)
    listener = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    async with listener, Realtime(api_base_url=server.url, signing_key="signkey-test-00ff") as realtime:
        await realtime.get_client_subscription_token(channel=channel, topics=["t"])
        with pytest.raises(UnreachableError):
            await realtime.subscribe(channel=channel, topics=["t"], api_base_url=f"https://127.0.0.1:{port}")
    assert not any(heard)


def test_the_repr_of_a_token_does_not_show_it() -> None:
    minted = MintedToken.of("not.a.token")
    assert minted.token not in repr(minted)
    assert minted.env_id is None
