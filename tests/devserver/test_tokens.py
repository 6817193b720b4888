"""PROTOCOL.md section 1: POST token."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
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
        '[{"channel":"c","name":"t","kind":7}]',
        '[{"channel":"c","env_id":"nonsense"}]',
        '[{"channel":"c","run_id":"nonsense"}]',
        "[NaN]",
        "[" * 100_000,
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
@pytest.mark.parametrize("path", ["/realtime/token", "/e/key", "/fn/register", "/v1/realtime/token/"])
async def test_a_path_that_is_not_served_is_an_error_in_json(client: Client, method: str, path: str) -> None:
    response = await client.http.request(method, client.server.url + path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    if method != "HEAD":
        assert f"does not serve {path}" in response.json()["error"]


async def test_the_root_is_a_page_for_people(client: Client) -> None:
    response = await client.http.get(client.server.url)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!DOCTYPE html>")


async def test_a_client_that_sends_an_event_says_what_is_missing(server: DevServer) -> None:
    code = """
import asyncio, inngest, sys
app = inngest.Inngest(app_id="app", is_production=False, event_api_base_url=sys.argv[1])
asyncio.run(app.send(inngest.Event(name="shop/order.placed")))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, server.url, stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert b"npx inngest-cli@latest dev" in errors


@pytest.mark.parametrize(
    ("body", "topics"),
    [
        (b"null", None),
        (b"[null]", [("", "")]),
        (b'[{"Channel":"c","NAME":"t","kind":"run"}]', [("c", "t")]),
        (b'[{"channel":"c","name":"t","kind":"run"}] and more', [("c", "t")]),
        (b'[{"channel":"\xff\xe2(","name":"\\ud800","kind":"run"}]', [("\ufffd\ufffd(", "\ufffd")]),
        (b'[{"channel":null,"name":"t","x":1e999,"env_id":null}]', [("", "t")]),
        (b'[{"channel":"c","env_id":"11111111-0000-4000-B000-000000000000"}]', [("c", "")]),
    ],
)
async def test_the_body_is_read_as_go_reads_it(
    client: Client, body: bytes, topics: list[tuple[str, str]] | None
) -> None:
    response = await client.http.post("/token", content=body)
    assert response.status_code == 201
    claims = jwt.decode(response.json()["jwt"], options={"verify_signature": False})
    found = claims["topics"] and [(entry["channel"], entry["name"]) for entry in claims["topics"]]
    assert found == topics


async def test_two_million_topics_are_refused_at_once(client: Client) -> None:
    before = time.process_time()
    for body in (b"[" + b"{}," * 2_000_000 + b"{}]", b"[" + b"{}," * 50_000 + b"{}]"):
        response = await client.http.post("/token", content=body)
        assert (response.status_code, "too large" in response.json()["error"]) == (413, True)
    assert time.process_time() - before < 2.0


async def test_a_token_with_publish_may_publish_and_a_subscription_token_may_not(client: Client, channel: str) -> None:
    server = client.server
    async with client.listen((channel, "t"), (channel, "$stream")) as connection:
        headers = {"authorization": f"Bearer {server.issue_token(channel, ['t'], publish=True)}"}
        for path in ("/publish", "/publish/tee"):
            params = {"channel": channel, "topic": "t"}
            response = await client.http.post(path, params=params, headers=headers, content="7")
            assert (response.status_code, response.text) == (200, "")
        assert await receive_data(connection) == 7
        headers = {"authorization": f"Bearer {server.issue_token(channel, ['t'])}"}
        response = await client.http.post("/publish", params={"channel": channel, "topic": "t"}, headers=headers)
        assert (response.status_code, response.text) == (401, "Not authenticated for publishing\n")
        assert response.headers["content-type"].startswith("text/plain")


async def test_only_a_server_that_is_not_strict_mints_for_a_subscription_token(guarded: Client, channel: str) -> None:
    async with DevServer() as dev, DevServer(signing_key=KEY, strict=False) as lenient, Client(lenient).http as http:
        mine = lenient.issue_token(channel, ["t"])
        assert (await http.post("/token", json=[], headers={"authorization": f"Bearer {mine}"})).status_code == 201
        for authorization in ("Bearer garbage", "", f"Bearer {dev.issue_token(channel, ['t'])}x"):
            response = await http.post("/token", json=[], headers={"authorization": authorization})
            assert (response.status_code, response.text) == (401, "Authentication failed\n")
        # `inngest start` signs as the dev server does.
        other = DevServer(strict=False).issue_token(channel, ["t"])
        assert (await http.post("/token", json=[], headers={"authorization": f"Bearer {other}"})).status_code == 201
    mine = guarded.server.issue_token(channel, ["t"])
    response = await guarded.http.post("/token", json=[], headers={"authorization": f"Bearer {mine}"})
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"), [({"exp": "4102444800"}, 426), ({"iat": 4102444800}, 401), ({"exp": "soon"}, 401)]
)
async def test_the_times_of_a_token(client: Client, changes: dict[str, object], status: int) -> None:
    secret = hashlib.sha256(b"inngest-realtime").digest()
    claims = jwt.decode(await client.token(("c", "t")), options={"verify_signature": False}) | changes
    token = jwt.encode(claims, secret, algorithm="HS256")
    assert (await client.http.get("/connect", params={"token": token})).status_code == status


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
