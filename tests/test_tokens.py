from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
import traceback
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import httpx
import inngest
import jwt
import pytest
from inngest.experimental import realtime as official

from inngest_realtime_core._api import http as seam
from inngest_realtime_core._api.claims import TopicClaim, read_claims_unverified
from inngest_realtime_core._api.client_token import ClientSubscriptionToken
from inngest_realtime_core._api.http import HttpRequest, HttpResponse, hash_signing_key
from inngest_realtime_core._api.tokens import build_token_request, mint, read_token_response
from inngest_realtime_core.errors import (
    AuthenticationError,
    ConfigurationError,
    RealtimeError,
    UnexpectedResponseError,
    UnreachableError,
)
from inngest_realtime_core.settings import Settings
from inngest_realtime_devserver.server import DevServer
from raw_server import http_answer, raw_server

KEY = "signkey-prod-0123456789abcdef"
OTHER_KEY = "signkey-prod-fedcba9876543210"
JWT = "the.secret.token"
TOKEN_JSON = json.dumps({"jwt": JWT}).encode()


def settings_for(url: str, **keywords: Any) -> Settings:
    return Settings.resolve(api_base_url=url, environ={}, **keywords)


async def mint_form(settings: Settings, entries: list[tuple[str, str]]) -> str:
    async with httpx.AsyncClient() as http:
        return await mint(http, settings, entries)


class TestRequest:
    def test_is_what_the_protocol_says(self) -> None:
        request = build_token_request(settings_for("http://a:1/x", env="branch"), [("c:1", "t"), ("d", "ü")])
        assert (request.method, request.url) == ("POST", "http://a:1/x/v1/realtime/token")
        assert json.loads(bytes(request.content)) == [  # type: ignore[arg-type]
            {"channel": "c:1", "name": "t", "kind": "run"},
            {"channel": "d", "name": "ü", "kind": "run"},
        ]
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-inngest-env"] == "branch"

    def test_without_a_branch_there_is_no_header(self) -> None:
        assert "x-inngest-env" not in build_token_request(settings_for("http://a:1"), []).headers

    @pytest.mark.parametrize(
        "key", ["signkey-prod-0123456789abcdef", "signkey-branch_1-0123456789ABCDEF", "0123456789abcdef"]
    )
    def test_the_key_is_sent_as_the_inngest_package_sends_it(self, key: str) -> None:
        assert hash_signing_key(key) == hashlib.sha256(bytes.fromhex("0123456789abcdef")).hexdigest()
        assert hash_signing_key(f" {key}\n") == hash_signing_key(key)

    @pytest.mark.parametrize("key", ["", "signkey-prod-", "signkey-prod-xyz", "hunter2"])
    def test_a_malformed_key_is_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(ConfigurationError, match="signing key is not valid") as caught:
            hash_signing_key(key)
        assert "hunter2" not in str(caught.value)
        assert "xyz" not in str(caught.value)

    async def test_arrives_with_these_headers(self) -> None:
        with raw_server(http_answer("201 Created", TOKEN_JSON, connection="close")) as server:
            assert await mint_form(settings_for(server.url, signing_key=KEY, env="branch"), [("c", "t")]) == JWT
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /v1/realtime/token http/1.1"
        assert f"authorization: bearer {hash_signing_key(KEY)}" in lines
        assert "x-inngest-env: branch" in lines
        assert json.loads(body) == [{"channel": "c", "name": "t", "kind": "run"}]


class TestMinting:
    async def test_is_tried_once_more_when_the_connection_breaks(self) -> None:
        """As a connection does that was kept for the next request, and that the server has ended since."""
        token = http_answer("201 Created", TOKEN_JSON, connection="close")
        with raw_server(lambda connection: None, token) as server:
            assert await mint_form(settings_for(server.url), [("c", "t")]) == JWT
        with raw_server(lambda connection: None) as server, pytest.raises(UnreachableError):
            await mint_form(settings_for(server.url), [("c", "t")])
        assert len(server.requests) == 2

    async def test_a_token_covers_many_channels(self) -> None:
        channel = f"c-{uuid4()}"
        async with DevServer(signing_key=KEY) as server:
            entries = [(channel, "a"), (channel, "b"), (f"{channel}-2", "a")]
            token = ClientSubscriptionToken(
                await mint_form(settings_for(server.url, signing_key=KEY), entries), server.url
            )
        claims = token.read_claims_unverified()
        assert [(topic.channel, topic.name, topic.kind) for topic in claims.topics] == [
            (channel, "a", "run"),
            (channel, "b", "run"),
            (f"{channel}-2", "a", "run"),
        ]
        assert {topic.env_id for topic in claims.topics} == {claims.env_id}
        assert claims.issued_at is not None
        assert claims.expires_at == claims.issued_at + timedelta(seconds=60)

    async def test_the_fallback_key_is_tried_when_the_key_is_refused(self) -> None:
        async with DevServer(signing_key=KEY) as server:
            settings = settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback=KEY)
            assert await mint_form(settings, [("c", "t")])
            assert await mint_form(settings, [("c", "t")])
            assert server.stats().token_requests == 4  # nothing is remembered: the keys may be swapped back

    async def test_403_counts_as_refused_and_other_statuses_do_not(self) -> None:
        answers = [
            http_answer("403 Forbidden", connection="close"),
            http_answer("201 Created", TOKEN_JSON, connection="close"),
        ]
        with raw_server(*answers) as server:
            settings = settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback=KEY)
            assert await mint_form(settings, [("c", "t")]) == JWT
        assert hash_signing_key(OTHER_KEY).encode() in server.requests[0]
        assert hash_signing_key(KEY).encode() in server.requests[1]
        with raw_server(http_answer("500 Oops", connection="close")) as server, pytest.raises(UnexpectedResponseError):
            await mint_form(settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback=KEY), [("c", "t")])
        assert len(server.requests) == 1

    async def test_a_fallback_key_alone_is_tried_after_none(self) -> None:
        async with DevServer(signing_key=KEY) as server:
            assert await mint_form(settings_for(server.url, signing_key_fallback=KEY), [("c", "t")])
            assert server.stats().token_requests == 2

    async def test_both_keys_refused(self) -> None:
        async with DevServer(signing_key=KEY) as server:
            settings = settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback="signkey-prod-00")
            with pytest.raises(AuthenticationError, match="refused the signing key") as caught:
                await mint_form(settings, [("c", "t")])
        assert (caught.value.status, caught.value.url) == (401, f"{server.url}/v1/realtime/token")

    async def test_no_key_where_one_is_needed(self) -> None:
        async with DevServer(signing_key=KEY) as server:
            with pytest.raises(AuthenticationError, match="Set INNGEST_SIGNING_KEY"):
                await mint_form(settings_for(server.url), [("c", "t")])

    async def test_the_cloud_is_not_called_without_a_key(self) -> None:
        with pytest.raises(ConfigurationError, match="INNGEST_SIGNING_KEY"):
            await mint_form(Settings.resolve(environ={}), [("c", "t")])

    async def test_a_malformed_key_is_told_before_anything_is_sent(self) -> None:
        with pytest.raises(ConfigurationError, match="signing key is not valid"):
            await mint_form(settings_for("http://127.0.0.1:9", signing_key="hunter2"), [("c", "t")])

    async def test_settings_of_a_real_inngest_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("INNGEST_SIGNING_KEY_FALLBACK", raising=False)
        async with DevServer(signing_key=KEY) as server:
            app = inngest.Inngest(app_id="test", api_base_url=server.url, signing_key=KEY)
            ours = await mint_form(Settings.resolve(app), [("c", "t")])
            theirs = await official.get_subscription_token(app, "c", ["t"])
            await app._http_client._http_client.aclose()  # the package has no way to close its client
        assert read_claims_unverified(ours).topics == read_claims_unverified(str(theirs["key"])).topics

    async def test_the_clients_own_auth_and_redirects_are_not_used(self) -> None:
        redirect = http_answer("307 Elsewhere", location="http://127.0.0.1:9/", connection="close")
        with raw_server(redirect) as server:
            async with httpx.AsyncClient(auth=("user", "pass"), follow_redirects=True) as http:
                with pytest.raises(UnexpectedResponseError, match="redirect, which is not followed"):
                    await mint(http, settings_for(server.url), [("c", "t")])
        assert b"authorization" not in server.requests[0].lower()


NOT_HTTP = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
NOT_GZIP = http_answer("201 Created", b"not compressed at all", content_encoding="gzip", connection="close")
HTML = b"<!doctype html><title>Inngest Development Server</title>"


class TestWrongAnswers:
    @pytest.mark.parametrize(
        ("answer", "status", "says"),
        [
            (http_answer("200 OK", HTML, content_type="text/html; charset=utf-8"), 200, "a web page came back"),
            (http_answer("201 Created", b"{}"), 201, 'there is no "jwt"'),
            (http_answer("201 Created", b'{"jwt":7}'), 201, 'there is no "jwt"'),
            (http_answer("201 Created", b'{"jwt":""}'), 201, 'there is no "jwt"'),
            (http_answer("201 Created", b"[]"), 201, 'there is no "jwt"'),
            (http_answer("201 Created", b"nonsense"), 201, "not JSON"),
            (http_answer("201 Created", b"\xff\xfe"), 201, "not JSON"),
            (http_answer("204 No Content"), 204, "not JSON"),
            (http_answer("400 Bad", b'{"error":"Invalid request: must provide a list"}'), 400, "must provide a list"),
            (http_answer("400 Bad", b"the secret request again"), 400, r"not accepted\. Is"),
            (http_answer("404 Not Found", HTML, content_type="text/html"), 404, "no such endpoint"),
            (http_answer("405 Method Not Allowed"), 405, "no such endpoint"),
            (http_answer("302 Found", location="/login?secret=1"), 302, "redirect"),
            (http_answer("429 Slow", retry_after="7"), 429, "Try again in 7 seconds"),
            (http_answer("503 Down"), 503, "Try again later"),
            (http_answer("500 Oops", b'{"error":"Error creating JWT"}'), 500, "server has a problem"),
        ],
    )
    async def test_say_what_to_check(self, answer: bytes, status: int, says: str) -> None:
        answer = answer.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        with raw_server(answer) as server, pytest.raises(UnexpectedResponseError, match=says) as caught:
            await mint_form(settings_for(server.url, signing_key=KEY), [("c", "t")])
        assert (caught.value.status, caught.value.url) == (status, f"{server.url}/v1/realtime/token")
        assert "secret" not in str(caught.value)

    async def test_a_wrong_path_on_the_dev_server(self) -> None:
        async with DevServer() as server:
            with pytest.raises(UnexpectedResponseError, match="The path is wrong"):
                await mint_form(settings_for(f"{server.url}/wrong"), [("c", "t")])

    async def test_something_that_is_not_http(self) -> None:
        with (
            raw_server(NOT_HTTP) as server,
            pytest.raises(UnexpectedResponseError, match="not HTTP") as caught,
        ):
            await mint_form(settings_for(server.url), [("c", "t")])
        assert caught.value.status is None

    async def test_a_broken_encoding(self) -> None:
        with raw_server(NOT_GZIP) as server, pytest.raises(UnexpectedResponseError, match="not HTTP"):
            await mint_form(settings_for(server.url), [("c", "t")])

    async def test_an_endless_body(self) -> None:
        def pour(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 201 Created\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)

        with raw_server(pour) as server, pytest.raises(UnexpectedResponseError, match="over 16777216 bytes"):
            await mint_form(settings_for(server.url), [("c", "t")])


class TestNoAnswer:
    async def test_nothing_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(UnreachableError, match="no connection") as caught:
                await mint_form(settings_for(url, signing_key=KEY), [("c", "t")])
        assert (caught.value.status, caught.value.url) == (None, f"{url}/v1/realtime/token")
        assert caught.value.__cause__ is not None

    async def test_an_unknown_host(self) -> None:
        with pytest.raises(UnreachableError, match="no connection"):
            await mint_form(settings_for("http://inngest.invalid:1"), [("c", "t")])

    @pytest.mark.parametrize(
        "answer", [b"", b"HTTP/1.1 201 Cre", b"HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{"]
    )
    async def test_cut_off(self, answer: bytes) -> None:
        with (
            raw_server(answer) as server,
            pytest.raises(UnreachableError, match="closed before the response"),
        ):
            await mint_form(settings_for(server.url), [("c", "t")])

    async def test_reset(self) -> None:
        def reset(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

        with raw_server(reset) as server, pytest.raises(UnreachableError, match="did not respond"):
            await mint_form(settings_for(server.url), [("c", "t")])

    async def test_a_server_that_hangs(self) -> None:
        with hanging_server() as server:
            async with httpx.AsyncClient() as http:
                with pytest.raises(UnreachableError, match=r"no response within 0\.2 s"):
                    await seam.send(http, HttpRequest("POST", server.url, {}, b"[]"), timeout=0.2)

    async def test_more_calls_than_connections(self) -> None:
        with hanging_server() as server:
            limits = httpx.Limits(max_connections=1)  # 100 by default
            async with httpx.AsyncClient(limits=limits) as http:
                request = HttpRequest("POST", server.url, {}, b"[]")
                first = asyncio.ensure_future(seam.send(http, request, timeout=5))
                second = asyncio.ensure_future(seam.send(http, request, timeout=0.2))
                with pytest.raises(UnreachableError, match=r"waited for 0\.2 s for other calls"):
                    await second
                first.cancel()
                await asyncio.wait([first])

    async def test_a_server_that_trickles(self) -> None:
        with trickling_server() as server:
            request = HttpRequest("POST", f"{server.url}/x?secret=1", {}, b"[]")
            async with httpx.AsyncClient() as http:
                with pytest.raises(UnreachableError, match=r"no response within 0\.2 s") as caught:
                    await seam.send(http, request, timeout=0.2)
            assert caught.value.url == f"{server.url}/x"


def hanging_server() -> Any:
    def hang(connection: socket.socket) -> None:
        while connection.recv(65536):  # until the client goes away
            pass

    return raw_server(hang)


def trickling_server() -> Any:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 201 Created\r\ncontent-length: 100000\r\n\r\n")
        connection.settimeout(0.02)
        while True:
            connection.sendall(b" ")
            try:
                if not connection.recv(65536):
                    return
            except TimeoutError:
                continue

    return raw_server(trickle)


class TestSecrets:
    async def test_none_appears_anywhere(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        shown: list[str] = []
        async with DevServer(signing_key=KEY) as server:
            settings = settings_for(server.url, signing_key=OTHER_KEY, signing_key_fallback=KEY)
            request = build_token_request(settings, [("c", "t")])
            token = ClientSubscriptionToken(await mint_form(settings, [("c", "t")]), server.url)
            shown += [repr(settings), repr(request), repr(token), repr(HttpResponse(201, {}, token.key.encode()))]
            server.reject_tokens(401)
            for url in (server.url, f"{server.url}/wrong", "http://127.0.0.1:9"):
                try:
                    await mint_form(settings_for(url, signing_key=KEY, signing_key_fallback=OTHER_KEY), [("c", "t")])
                except RealtimeError as error:
                    shown += traceback.format_exception(error)
                    shown.append(repr(vars(error)))
        everything = "\n".join([*shown, caplog.text])
        assert "/v1/realtime/token" in caplog.text
        for secret in (KEY, OTHER_KEY, KEY.rpartition("-")[2], OTHER_KEY.rpartition("-")[2], token.key):
            assert secret not in everything
        for key in (KEY, OTHER_KEY):
            assert hash_signing_key(key) not in everything


class TestClientSubscriptionToken:
    def test_what_a_browser_gets(self) -> None:
        token = ClientSubscriptionToken(JWT, "https://rt.example")
        assert token.to_dict() == {"key": JWT, "apiBaseUrl": "https://rt.example"}
        assert repr(token) == "ClientSubscriptionToken(api_base_url='https://rt.example')"

    def test_claims_of_an_expired_token_of_unknown_signature(self) -> None:
        topic = {"channel": "c", "name": "t", "kind": "run", "env_id": "e"}
        payload = {"iss": "x", "sub": "a", "exp": 60, "iat": 0, "jti": "j", "env": "e", "topics": [topic], "aud": "y"}
        key = jwt.encode(payload, "x" * 32, algorithm="HS256")
        claims = ClientSubscriptionToken(key, "http://a").read_claims_unverified()
        assert claims.topics == (TopicClaim("c", "t", "run", "e"),)
        assert claims.issued_at == datetime(1970, 1, 1, tzinfo=timezone.utc)
        assert claims.expires_at == datetime(1970, 1, 1, 0, 1, tzinfo=timezone.utc)
        assert (claims.env_id, claims.account_id, claims.token_id) == ("e", "a", "j")

    @pytest.mark.parametrize("payload", [{}, {"topics": None, "iat": "x", "exp": None, "env": 7, "sub": 7}])
    def test_claims_that_are_missing(self, payload: dict[str, Any]) -> None:
        claims = read_claims_unverified(jwt.encode(payload, "x" * 32, algorithm="HS256"))
        assert claims.topics == ()
        assert (claims.expires_at, claims.env_id, claims.account_id) == (None, None, None)

    @pytest.mark.parametrize("key", ["", "hunter2", "a.b.c", "hunter2.hunter2.hunter2", "ü"])
    def test_what_is_no_token(self, key: str) -> None:
        with pytest.raises(ConfigurationError, match="not a subscription token") as caught:
            read_claims_unverified(key)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))

    def test_topics_of_another_shape(self) -> None:
        key = jwt.encode({"topics": ["c"]}, "x" * 32, algorithm="HS256")
        with pytest.raises(ConfigurationError, match="not a subscription token"):
            read_claims_unverified(key)


def test_reading_an_answer_needs_no_connection() -> None:
    request = build_token_request(settings_for("http://a:1"), [])
    assert read_token_response(request, HttpResponse(201, {}, TOKEN_JSON)) == JWT
    assert read_token_response(request, HttpResponse(200, {}, TOKEN_JSON)) == JWT
