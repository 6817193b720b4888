"""PROTOCOL.md section 2: GET connect."""

from __future__ import annotations

import asyncio
import time

import httpx
import jwt
import pytest
from websockets.exceptions import InvalidStatus

from inngest_realtime_devserver.server import DevServer

from .client import DEADLINE, Client, confirm, receive_data

NOT_AUTHENTICATED = '{"error":"Not authenticated","data":null,"status":401}\n'


async def rejection(client: Client, token: str | None, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body with which a connect is refused."""
    with pytest.raises(InvalidStatus) as caught:
        await client.connect(token, additional_headers=headers)
    response = caught.value.response
    return response.status_code, response.headers["content-type"], (response.body or b"").decode()


async def test_101_without_compression_or_subprotocol_and_for_any_origin(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    async with client.connect(token, compression="deflate", origin="https://elsewhere.example") as connection:
        assert connection.response is not None
        assert connection.response.status_code == 101
        assert "sec-websocket-extensions" not in connection.response.headers
        assert connection.subprotocol is None


@pytest.mark.parametrize("token", [None, "", "nonsense", "a.b.c"])
async def test_no_token_or_nonsense_is_401(client: Client, token: str | None) -> None:
    assert await rejection(client, token) == (401, "application/json", NOT_AUTHENTICATED)


async def test_a_token_signed_by_somebody_else_is_401(client: Client, channel: str) -> None:
    claims = jwt.decode(await client.token((channel, "t")), options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 32, algorithm="HS256")
    assert await rejection(client, forged) == (401, "application/json", NOT_AUTHENTICATED)


async def test_an_expired_token_is_401_and_a_live_connection_outlives_its_token(channel: str) -> None:
    async with DevServer(token_ttl=0.25) as server:
        client = Client(server)
        async with client.http:
            token = await client.token((channel, "t"))
            expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
            async with client.connect(token) as connection:
                await confirm(connection)
                while time.time() < expiry:
                    await confirm(connection)
                assert await rejection(client, token) == (401, "application/json", NOT_AUTHENTICATED)
                await client.publish(channel, "t", '"still here"')
                assert await receive_data(connection) == "still here"


async def test_a_guarded_server_refuses_in_plain_text() -> None:
    async with DevServer(signing_key="ab" * 32) as server:
        client = Client(server)
        async with client.http:
            status, content_type, body = await rejection(client, "nonsense")
            assert (status, body) == (401, "Authentication failed\n")
            assert content_type.startswith("text/plain")


async def test_a_long_authorization_header_takes_precedence_over_the_token(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    refused = await rejection(client, token, authorization="Bearer signkey-test-12345678")
    assert refused == (401, "application/json", NOT_AUTHENTICATED)
    async with client.connect(token, additional_headers={"authorization": "Bearer x"}) as connection:
        await confirm(connection)
    async with client.connect(None, additional_headers={"authorization": f"Bearer {token}"}) as connection:
        await confirm(connection)
        await client.publish(channel, "t", "1")
        assert await receive_data(connection) == 1


async def test_a_token_works_for_many_connections_at_once_and_again(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    async with client.connect(token) as first, client.connect(token) as second:
        await confirm(first)
        await confirm(second)
        await client.publish(channel, "t", "1")
        assert [await receive_data(first), await receive_data(second)] == [1, 1]
    async with client.connect(token) as third:
        await confirm(third)
        await client.publish(channel, "t", "2")
        assert await receive_data(third) == 2


async def test_without_upgrade_headers_it_is_426(client: Client, channel: str) -> None:
    response = await client.http.get("/connect", params={"token": await client.token((channel, "t"))})
    assert response.status_code == 426
    assert response.headers["upgrade"] == "websocket"


async def test_without_upgrade_headers_and_token_it_is_401(client: Client) -> None:
    response = await client.http.get("/connect")
    assert (response.status_code, response.text) == (401, NOT_AUTHENTICATED)


async def test_an_incomplete_upgrade_is_400(client: Client) -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    assert (await client.http.get("/connect", headers=headers)).status_code == 400


async def test_an_upgrade_of_a_wrong_path_is_404(client: Client) -> None:
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    response = await client.http.get(f"{client.server.url}/realtime/connect", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")


async def test_a_token_url_of_980_kb_is_accepted_and_one_of_1070_kb_is_431(client: Client, channel: str) -> None:
    async def token_of(size: int) -> str:
        return await client.token((channel, "t"), ("x" * int(size * 0.75 - 400), "t"))

    token = await token_of(980_000)
    assert 970_000 < len(token) < 990_000
    async with client.connect(token) as connection:
        await confirm(connection)
        await client.publish(channel, "t", "1")
        assert await receive_data(connection) == 1
    status, content_type, _ = await rejection(client, await token_of(1_070_000))
    assert (status, content_type) == (431, "text/plain; charset=utf-8")


async def test_101_comes_before_the_subscription_and_a_pong_proves_it(channel: str) -> None:
    async with DevServer(registration_delay=0.2) as server:
        client = Client(server)
        async with client.http, client.connect(await client.token((channel, "t"))) as connection:
            assert server.stats().open_connections == 1
            await client.publish(channel, "t", '"lost"')
            pong = await connection.ping()
            assert server.stats().subscriptions == 0
            await asyncio.wait_for(pong, DEADLINE)
            assert server.stats().subscriptions == 1
            await client.publish(channel, "t", '"delivered"')
            assert await receive_data(connection) == "delivered"


async def test_the_connection_is_kept_alive_for_http_requests(client: Client) -> None:
    responses: list[httpx.Response] = [await client.http.post("/token", json=[]) for _ in range(3)]
    streams = {response.extensions["network_stream"].get_extra_info("client_addr") for response in responses}
    assert len(streams) == 1
