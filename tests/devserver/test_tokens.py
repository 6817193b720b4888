"""PROTOCOL.md section 1: POST token."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import jwt
import pytest

from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_devserver.identifiers import parse_ulid
from inngest_realtime_devserver.server import DevServer

from .client import Client, confirm, receive_data

ENVIRONMENT = "00000000-0000-4000-b000-000000000000"
KEY, FALLBACK = "ab" * 32, "cd" * 32


def digest(key: str) -> str:
    return hashlib.sha256(bytes.fromhex(key)).hexdigest()


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    """A server with a signing key, as `inngest start --signing-key` is."""
    async with DevServer(signing_key=f"signkey-prod-{KEY}", signing_key_fallback=FALLBACK) as server:
        client = Client(server)
        async with client.http:
            yield client


async def test_a_token_and_its_claims(client: Client, channel: str) -> None:
    response = await client.http.post("/token", json=[{"channel": channel, "name": "t", "kind": "run"}])
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    token = response.json()["jwt"]
    assert response.text == f'{{"jwt":"{token}"}}\n'
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(token, options={"verify_signature": False})
    assert list(claims) == ["iss", "sub", "exp", "iat", "jti", "env", "topics", "publish"]
    assert claims["iss"] == "rt.inngest.com"
    assert claims["exp"] - claims["iat"] == 60
    assert parse_ulid(claims["jti"]) == claims["jti"]
    assert claims["env"] == ENVIRONMENT
    assert claims["publish"] is False
    assert claims["topics"] == [{"kind": "run", "env_id": ENVIRONMENT, "channel": channel, "name": "t"}]


async def test_one_token_covers_many_channels(client: Client, channel: str) -> None:
    topics = [(f"{channel}:{n}", f"t{n}") for n in range(50)]
    async with client.listen(*topics) as connection:
        for n, (name, topic) in enumerate(topics):
            await client.publish(name, topic, str(n))
            assert await receive_data(connection) == n


@pytest.mark.parametrize("authorization", [None, "Bearer bogus", "nonsense"])
async def test_without_a_signing_key_any_authorization_will_do(client: Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert (await client.http.post("/token", json=[], headers=headers)).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        '{"channel":"c","name":"t","kind":"run"}',
        '["c"]',
        '[{"channel":1,"name":"t","kind":"run"}]',
        '[{"channel":"c","name":["t"],"kind":"run"}]',
        '[{"channel":"c","name":"t","kind":true}]',
        '"c"',
    ],
)
async def test_a_body_that_is_not_a_list_of_topics_is_400(client: Client, body: str) -> None:
    response = await client.http.post("/token", content=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert response.text == ('{"error":"Invalid request: must provide a list of topics","data":null,"status":400}\n')


@pytest.mark.parametrize("kind", [None, "", "event", "nonsense"])
async def test_only_topics_of_the_kind_run_ever_receive_anything(
    client: Client, channel: str, kind: str | None
) -> None:
    entry = {"channel": channel, "name": "other"} | ({} if kind is None else {"kind": kind})
    run = {"channel": channel, "name": "run", "kind": "run"}
    response = await client.http.post("/token", json=[entry, run])
    assert response.status_code == 201
    async with client.connect(response.json()["jwt"]) as connection:
        await confirm(connection)
        await client.publish(channel, "other", "1")
        await client.publish(channel, "run", "2")
        assert await receive_data(connection) == 2


async def test_an_empty_list_and_duplicates_are_fine(client: Client, channel: str) -> None:
    assert (await client.http.post("/token", json=[])).status_code == 201
    async with client.listen((channel, "t"), (channel, "t")) as connection:
        await client.publish(channel, "t", "1")
        await client.publish(channel, "t", "2")
        assert [await receive_data(connection), await receive_data(connection)] == [1, 2]


async def test_a_channel_of_a_megabyte_is_fine(client: Client) -> None:
    entries = [{"channel": "c" * 1_000_000, "name": "t", "kind": "run"}]
    response = await client.http.post("/token", json=entries)
    assert response.status_code == 201
    assert len(response.content) > 1_300_000


async def test_get_is_405(client: Client) -> None:
    response = await client.http.get("/token")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/realtime/token", "/", "/v1/realtime/token/"])
async def test_a_wrong_path_is_a_page(client: Client, method: str, path: str) -> None:
    response = await client.http.request(method, client.server.url + path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("" if method == "HEAD" else "<!DOCTYPE html>")


@pytest.mark.parametrize("key", [KEY, FALLBACK])
@pytest.mark.parametrize("prefix", ["", "signkey-prod-", "signkey-test-"])
async def test_the_digest_of_a_signing_key_is_accepted_bare_and_prefixed(
    guarded: Client, key: str, prefix: str
) -> None:
    headers = {"authorization": f"Bearer {prefix}{digest(key)}"}
    assert (await guarded.http.post("/token", json=[], headers=headers)).status_code == 201


@pytest.mark.parametrize("authorization", [None, "", "Bearer", f"Bearer {KEY}", f"Bearer {digest('ef' * 32)}"])
@pytest.mark.parametrize("path", ["/token", "/publish?channel=c&topic=t", "/publish/tee?channel=c"])
async def test_no_key_or_a_bad_one_is_401_in_plain_text(guarded: Client, authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    response = await guarded.http.post(path, content="[]", headers=headers)
    assert response.status_code == 401
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == "Authentication failed\n"


async def test_a_signing_key_that_is_not_hexadecimal_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        DevServer(signing_key="signkey-prod-notHex")
    assert "notHex" not in str(caught.value)


async def test_servers_of_the_same_key_accept_each_others_tokens(guarded: Client) -> None:
    token = await guarded.token(authorization=f"Bearer {digest(KEY)}")
    async with DevServer(signing_key=KEY, signing_key_fallback=FALLBACK) as second, DevServer() as third:
        for server, status in ((second, 426), (third, 401)):
            client = Client(server)
            async with client.http:
                assert (await client.http.get("/connect", params={"token": token})).status_code == status
