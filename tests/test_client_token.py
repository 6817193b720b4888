"""`ClientSubscriptionToken` is a mapping that every framework writes as the JSON that browsers take."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import flask
import httpx
import jwt
import msgspec
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from inngest_realtime_core import ClientSubscriptionToken, ConfigurationError, Realtime

URL = "https://rt.example"


def signed(*topics: tuple[str, str]) -> str:
    claims = [{"channel": channel, "name": name, "kind": "run"} for channel, name in topics]
    return jwt.encode({"topics": claims}, "x" * 32, algorithm="HS256")


KEY = signed(("c", "a"), ("c", "b"))
TOKEN = ClientSubscriptionToken(KEY, URL)
JSON = {"key": KEY, "apiBaseUrl": URL}


def test_it_is_a_mapping() -> None:
    assert isinstance(TOKEN, Mapping)
    assert dict(TOKEN) == TOKEN == JSON
    assert (TOKEN["key"], TOKEN["apiBaseUrl"], TOKEN.key, TOKEN.api_base_url) == (KEY, URL, KEY, URL)
    assert list(TOKEN) == ["key", "apiBaseUrl"]
    assert json.loads(json.dumps(TOKEN)) == json.loads(msgspec.json.encode(TOKEN)) == JSON
    assert TOKEN.to_dict() == JSON
    assert type(TOKEN.to_dict()) is dict


def test_what_it_is_for() -> None:
    assert (TOKEN.channel, TOKEN.topics) == ("c", ("a", "b"))
    assert TOKEN.to_dict(full=True) == {"channel": "c", "topics": ["a", "b"], **JSON}
    assert list(TOKEN.to_dict(full=True)) == ["channel", "topics", "key", "apiBaseUrl"]
    given = ClientSubscriptionToken("opaque", URL, channel="d", topics=["t"])
    assert (given.channel, given.topics) == ("d", ("t",))
    opaque = ClientSubscriptionToken("opaque", URL)
    assert (opaque.channel, opaque.topics) == ("", ())
    assert ClientSubscriptionToken(signed(("c", "a"), ("d", "b")), URL).channel == ""


async def test_a_minted_one_knows_its_channel_and_topics(realtime: Realtime, channel: str) -> None:
    token = await realtime.get_client_subscription_token(channel=channel, topics=["b", "a"])
    assert (token.channel, token.topics) == (channel, ("b", "a"))
    assert {claim.name for claim in token.read_claims_unverified().topics} == {"a", "b"}


def test_its_repr_shows_no_key() -> None:
    for text in (repr(TOKEN), str(TOKEN), f"{TOKEN}", repr([TOKEN]), repr({"token": TOKEN})):
        assert KEY not in text
        assert KEY.split(".")[2] not in text


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token.update(key="x"),
        lambda token: token.__setitem__("key", "x"),
        lambda token: token.__delitem__("key"),
        lambda token: token.__ior__({"key": "x"}),
        lambda token: token.clear(),
        lambda token: token.pop("key"),
        lambda token: token.popitem(),
        lambda token: token.setdefault("other", "x"),
    ],
)
def test_it_cannot_be_changed(change: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="cannot be changed"):
        change(TOKEN)
    assert TOKEN == JSON


def test_copies() -> None:
    named = ClientSubscriptionToken(KEY, URL, channel="d", topics=["t"])
    for twin in (pickle.loads(pickle.dumps(named)), copy.copy(named), copy.deepcopy(named), copy.deepcopy([named])[0]):
        assert type(twin) is ClientSubscriptionToken
        assert (twin, twin.channel, twin.topics) == (named, "d", ("t",))
    assert len({TOKEN, ClientSubscriptionToken(KEY, URL)}) == 1


@pytest.mark.parametrize(
    "given",
    [JSON, {"channel": "c", "topics": ["a"], "key": KEY}, {"key": KEY, "api_base_url": URL}, TOKEN],
    ids=["the SDKs'", "the older", "snake case", "our own"],
)
def test_reading(given: Any) -> None:
    assert ClientSubscriptionToken.parse(given).key == KEY


@pytest.mark.parametrize(
    "given", [None, "hunter2", {}, {"key": 7}, {"key": ""}, {"key": KEY, "apiBaseUrl": 7}, {"key": KEY, "topics": [1]}]
)
def test_reading_something_else(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a ClientSubscriptionToken") as caught:
        ClientSubscriptionToken.parse(given)
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_pydantic() -> None:
    class Answer(BaseModel):
        token: ClientSubscriptionToken

    answer = Answer(token=TOKEN)
    assert answer.model_dump() == {"token": JSON}
    assert json.loads(answer.model_dump_json()) == {"token": JSON}
    assert isinstance(Answer.model_validate({"token": JSON}).token, ClientSubscriptionToken)
    schema = TypeAdapter(ClientSubscriptionToken).json_schema()
    assert (schema["type"], sorted(schema["required"])) == ("object", ["apiBaseUrl", "key"])
    with pytest.raises(ValidationError):
        Answer.model_validate({"token": {"key": 1}})


async def test_fastapi() -> None:
    app = FastAPI()

    @app.get("/plain")
    async def plain() -> Any:
        return TOKEN

    @app.get("/annotated")
    async def annotated() -> ClientSubscriptionToken:
        return TOKEN

    @app.get("/model", response_model=ClientSubscriptionToken)
    def model() -> Any:
        return TOKEN

    @app.get("/nested")
    def nested() -> dict[str, Annotated[ClientSubscriptionToken, "x"]]:
        return {"token": TOKEN}

    async with client(app) as http:
        for path in ("/plain", "/annotated", "/model"):
            assert (await http.get(path)).json() == JSON
        assert (await http.get("/nested")).json() == {"token": JSON}
        assert (await http.get("/openapi.json")).status_code == 200


async def test_starlette() -> None:
    async def token(request: Request) -> JSONResponse:
        return JSONResponse(TOKEN)

    async with client(Starlette(routes=[Route("/", token)])) as http:
        assert (await http.get("/")).json() == JSON


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def test_flask() -> None:
    app = flask.Flask("tokens")
    app.add_url_rule("/plain", view_func=lambda: TOKEN, endpoint="plain")
    app.add_url_rule("/jsonify", view_func=lambda: flask.jsonify(TOKEN), endpoint="jsonify")
    app.add_url_rule("/status", view_func=lambda: (TOKEN, 200, {"X-A": "b"}), endpoint="status")
    for path in ("/plain", "/jsonify", "/status"):
        assert app.test_client().get(path).get_json() == JSON


def test_django() -> None:
    done = python(
        "import json, django\n"
        "from django.conf import settings\n"
        "settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'], SECRET_KEY='x')\n"
        "django.setup()\n"
        "from django.http import JsonResponse\n"
        "from django.test import Client\n"
        "from django.urls import path\n"
        "from inngest_realtime_core import ClientSubscriptionToken\n"
        f"urlpatterns = [path('', lambda request: JsonResponse(ClientSubscriptionToken({KEY!r}, {URL!r})))]\n"
        "print(json.dumps(Client().get('/').json()))\n"
    )
    assert json.loads(done) == JSON


def python(code: str) -> str:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
