"""Who may call the embedded server, and what it says to browsers."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_devserver.access import is_loopback, is_loopback_origin
from inngest_realtime_devserver.server import DevServer

from .client import Client, confirm

PATHS = ["/token", "/publish?channel=c&topic=t", "/publish/tee?channel=c"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.4", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("::1%lo", True),
        ("127.0.0.1%2eevil.example", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("localhost:8288", True),
        ("[::1]:8288", True),
        ("localhost/evil.example", False),
        ("localhost#.evil.example", False),
        ("localhost?.evil.example", False),
        ("evil.example\\@localhost", False),
        ("evil.example@localhost", False),
        ("localhost, evil.example", False),
        ("localhost:a", True),  # no browser sends it: the name is what counts
    ],
)
def test_the_host_of_a_request(host: str, here: bool) -> None:
    assert is_loopback_origin(host, "") == here


@pytest.mark.parametrize("path", ["/token", "/publish?channel=c&topic=t", "/sse", "/connect", "/nope"])
async def test_a_name_that_was_made_to_mean_this_machine_is_refused(client: Client, path: str) -> None:
    method = "GET" if path in ("/sse", "/connect") else "POST"
    response = await client.http.request(method, path, headers={"host": "rebound.example:8288"})
    assert response.status_code == 403
    assert "--allow-remote" in response.json()["error"]


async def test_a_websocket_of_such_a_name_is_refused(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    with pytest.raises(InvalidStatus) as caught:
        await client.connect(token, name="rebound.example")
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "https://app.localhost:8443", "http://[::1]:5173"]
)
async def test_pages_of_this_machine_may_call(client: Client, path: str, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    asked = await client.http.options(path, headers={**headers, "access-control-request-headers": "authorization,x-y"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "*")
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == "authorization,x-y"
    response = await client.http.post(path, content="[]", headers={"origin": origin})
    assert response.status_code in (200, 201)
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "nonsense"])
async def test_pages_from_elsewhere_may_not(client: Client, path: str, origin: str) -> None:
    for method in ("OPTIONS", "POST"):
        response = await client.http.request(method, path, content="[]", headers={"origin": origin})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    assert client.server.stats().publishes == 0


async def test_with_allow_remote_anybody_may(channel: str) -> None:
    async with DevServer(allow_remote=True) as server:
        client = Client(server)
        async with client.http:
            headers = {"host": "inngest:8288", "origin": "https://elsewhere.example"}
            assert (await client.http.post("/token", json=[], headers=headers)).status_code == 201
            token = await client.token((channel, "t"))
            async with client.connect(token, name="inngest") as connection:
                await confirm(connection)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": "0.0.0.0"}, "allow_remote=True"),
        ({"host": "192.0.2.1"}, "allow_remote=True"),
        ({"port": 70_000}, "port=70000"),
        ({"port": -1}, "port=-1"),
        ({"port": "8288"}, "port='8288'"),
        ({"keepalive": 0}, "keepalive=0"),
        ({"keepalive": float("nan")}, "keepalive=nan"),
        ({"token_ttl": -1}, "token_ttl=-1"),
        ({"registration_delay": float("inf")}, "registration_delay=inf"),
        ({"closing_grace": "5"}, "closing_grace='5'"),
    ],
)
def test_options_out_of_bounds_are_refused_when_they_are_given(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DevServer(**options)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_a_refused_signing_key_is_in_no_frame() -> None:
    with pytest.raises(ConfigurationError) as caught:
        DevServer(signing_key="signkey-prod-" + "secret" * 3)
    traceback = caught.tb
    while traceback is not None:
        if "inngest_realtime_devserver" in traceback.tb_frame.f_code.co_filename:
            assert "secretsecret" not in repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next


async def test_a_page_from_elsewhere_does_not_make_up_a_token(client: Client, channel: str) -> None:
    """Without a signing key the secret of all servers is the same, and browsers let every page connect."""
    foreign = {"origin": "https://evil.example"}
    made_up = DevServer().issue_token(channel, ["t"])
    with pytest.raises(InvalidStatus) as caught:
        await client.connect(made_up, **foreign)
    assert caught.value.response.status_code == 403
    # What this server has given somebody is theirs, and another server's is taken from this machine.
    for token, options in ((await client.token((channel, "t")), foreign), (made_up, {})):
        async with client.connect(token, **options) as connection:
            await confirm(connection)
