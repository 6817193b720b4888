from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import django
import httpx
import pytest

from conformance.client import Client, EventStream
from conformance.servers import TESTS, RunningServer, ServerCase, gunicorn, running, uvicorn
from inngest_realtime_devserver.server import DevServer

MANAGE = [sys.executable, "-m", "django_project.manage"]


def runserver(port: int, workers: int) -> list[str]:
    return [*MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}"]


CASES = [
    ServerCase("uvicorn", uvicorn("django_project.asgi:application", "--lifespan", "off")),
    ServerCase("gunicorn", gunicorn("django_project.wsgi:application"), notices_disconnects=False),
    ServerCase("runserver", runserver, notices_disconnects=False),
]
if django.VERSION < (5, 0):
    # It does not notice under ASGI that a client has left: streams end after five minutes there.
    del CASES[0]


@pytest.fixture(scope="module")
def inngest() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def environment(inngest: DevServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for processes of the project, which has its database and two users."""
    database = str(tmp_path_factory.mktemp("django") / "db.sqlite3")
    variables = {"DJANGO_DATABASE": database, "INNGEST_DEV": inngest.url}
    manage(variables, "migrate", "--verbosity", "0")
    users = "from django.contrib.auth.models import User; [User.objects.create_user(n) for n in ('ada', 'bob')]"
    manage(variables, "shell", "-c", users)
    return variables


def manage(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MANAGE, *arguments],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )


@pytest.fixture(scope="module", params=CASES, ids=[case.name for case in CASES])
def server(request: pytest.FixtureRequest, inngest: DevServer, environment: dict[str, str]) -> Iterator[RunningServer]:
    with running(request.param, inngest.url, **environment) as server:
        yield server


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    """A client who is logged in as ada."""
    async with Client(server.url) as client:
        assert (await client.http.get("/login/ada")).text == "welcome"
        yield client


async def test_authorize_knows_the_user(client: Client, server: RunningServer) -> None:
    for endpoint in ("token", "stream"):
        assert (await client.get(f"inbox/{endpoint}", username="bob")).status_code == 403
    assert (await client.get("inbox/token", username="ada")).status_code == 200
    async with Client(server.url) as stranger:
        assert (await stranger.get("inbox/token", username="ada")).status_code == 403


async def test_a_post_needs_the_csrf_token(client: Client) -> None:
    assert (await client.post("inbox/token", {"username": "ada"})).status_code == 403
    client.http.headers["X-CSRFToken"] = client.http.cookies["csrftoken"]
    response = await client.post("inbox/token", {"username": "ada"})
    assert set(response.json()) == {"key", "apiBaseUrl"}


async def test_a_form_with_the_csrf_token(client: Client) -> None:
    """Django itself has then read the form, and the token in it is no parameter of ours."""
    token = client.http.cookies["csrftoken"]
    fields = {"username": "ada", "csrfmiddlewaretoken": token}
    for body in ({"data": fields}, {"files": [(name, (None, value)) for name, value in fields.items()]}):
        response = await client.http.post("/api/realtime/inbox/token", **body)
        assert response.status_code == 200, response.text
        assert set(response.json()) == {"key", "apiBaseUrl"}
    broken = await client.http.post(
        "/api/realtime/inbox/token",
        content=b"--x",
        headers={"X-CSRFToken": token, "Content-Type": "multipart/form-data; boundary=x"},
    )
    assert broken.status_code in (400, 403)
    assert broken.json()["error"]["code"] in ("missing_parameter", "malformed_body", "csrf_failed")


async def test_a_method_that_no_endpoint_has_needs_no_csrf_token(client: Client) -> None:
    for method in ("PUT", "DELETE"):
        refused = await client.http.request(method, "/api/realtime/inbox/token?username=ada")
        assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method_not_allowed")


def test_middleware_of_a_test_is_noticed(environment: dict[str, str]) -> None:
    code = """
from django.test import Client, override_settings
client = Client(enforce_csrf_checks=True)
found = []
for middleware in ([], ["django.middleware.csrf.CsrfViewMiddleware"], []):
    with override_settings(MIDDLEWARE=middleware):
        found.append(client.post("/api/realtime/nothing/token").json()["error"]["code"])
print(found)
"""
    printed = manage(environment, "shell", "-c", code).stdout.splitlines()[-1]
    assert printed == "['unknown_grant', 'csrf_failed', 'unknown_grant']"


async def test_a_form_that_is_too_large_is_not_read_for_its_csrf_token(client: Client, server: RunningServer) -> None:
    """It was written to a temporary file, whatever its size, by whoever sent a cookie of the right length."""
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + b"x" * 2**20
    try:
        response = await client.http.post(
            "/api/realtime/inbox/token",
            content=part * 4 + b"\r\n--x--",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
    except (httpx.ReadError, httpx.WriteError):
        return  # the connection was closed while it was being sent
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


async def test_views_compose_with_decorators(client: Client, server: RunningServer) -> None:
    assert (await client.http.get("/members/inbox/token?username=ada")).status_code == 200
    async with Client(server.url) as stranger:
        refused = await stranger.http.get("/members/inbox/token?username=ada")
        assert (refused.status_code, refused.headers["location"].partition("?")[0]) == (302, "/login")


async def test_endpoint_errors_are_json(client: Client, server: RunningServer) -> None:
    refused = await client.post("inbox/token", {"username": "ada"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed")
    assert "X-CSRFToken" in refused.json()["error"]["message"]
    assert refused.headers["content-type"] == "application/json"
    async with Client(server.url) as stranger:
        for endpoint in ("token", "stream"):  # `authorize` raises PermissionDenied
            denied = await stranger.get(f"inbox/{endpoint}", username="ada")
            assert (denied.status_code, denied.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("name", "status", "code", "message", "headers"),
    [
        ("bad", 400, "refused", "Say who you are.", {}),
        ("unknown", 401, "unauthenticated", "Incorrect authentication credentials.", {}),
        ("denied", 403, "forbidden", "Not yours.", {}),
        ("throttled", 429, "refused", "Expected available in 7 seconds.", {"retry-after": "7"}),
        ("invalid", 400, "refused", "may not subscribe", {}),
    ],
)
async def test_what_authorize_raises_of_django_and_its_rest_framework(
    client: Client, name: str, status: int, code: str, message: str, headers: dict[str, str]
) -> None:
    for endpoint in ("token", "stream"):
        refused = await client.get(f"refused/{endpoint}", username=name)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (status, code)
        assert message in error["message"]
        assert headers.items() <= refused.headers.items()


@pytest.mark.parametrize("grant", ["reauthorized", "async-reauthorized"])
async def test_a_stream_ends_when_its_user_logs_out(client: Client, grant: str) -> None:
    async with client.stream(f"{grant}/stream", username="ada") as stream:
        await stream.next_block()
        assert (await client.http.get("/logout")).text == "goodbye"
        assert (await stream.until_end())[-1].event == "end"
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)


async def test_a_view_of_rest_framework_streams(client: Client, inngest: DevServer) -> None:
    headers = {"Accept": "text/event-stream"}
    async with client.http.stream("GET", "/rest/ada", headers=headers) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        stream = EventStream(response)
        await stream.next_block()
        await inngest.publish("inbox:ada", "mail", "hello")
        assert (await stream.next_event()).json["data"] == "hello"
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)
    missing = await client.http.get("/rest/nobody", headers=headers)
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not found."})
    assert missing.headers["content-type"] == "application/json"


async def test_an_own_view_streams(client: Client, inngest: DevServer) -> None:
    async with client.http.stream("GET", "/own", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert "content-encoding" not in response.headers
        assert (response.headers["x-own"], response.headers["x-accel-buffering"]) == ("1", "no")
        stream = EventStream(response)
        assert (await stream.next_block()).retry is not None
        assert (await stream.next_block()).comment
        await inngest.publish("inbox:ada", "mail", "hello")
        last = await stream.next_event()
        assert last.json["data"] == "hello"
    await inngest.publish("inbox:ada", "mail", "again")
    async with client.http.stream("GET", "/own", headers={"Last-Event-ID": last.id or ""}) as response:
        assert (await EventStream(response).next_event()).json["data"] == "again"
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)


async def test_a_stream_of_the_wrong_face_is_refused(client: Client, server: RunningServer) -> None:
    if server.case.name == "uvicorn":
        assert (await client.http.get("/wrong-face")).status_code == 500
        assert "instead of subscribe_sync" in server.log
        await client.until_stats(lambda stats: stats["subscriptions"] == 0)
    else:
        async with client.http.stream("GET", "/wrong-face") as response:
            assert (await EventStream(response).next_block()).retry is not None
        await client.until_stats(lambda stats: stats["subscriptions"] == 0)


@pytest.mark.parametrize("path", ["/api/realtime/inbox/stream?username=ada", "/own"])
async def test_open_streams_hold_no_database_connection(client: Client, server: RunningServer, path: str) -> None:
    before = (await client.stats())["connections"]  # runserver of Django 4.2 keeps one for itself
    async with contextlib.AsyncExitStack() as stack:

        async def listen() -> EventStream:
            response = await stack.enter_async_context(client.http.stream("GET", path))
            assert response.status_code == 200
            stream = EventStream(response)
            await stream.next_block()
            return stream

        streams = await asyncio.gather(*(listen() for _ in range(50)))
        stats = await client.stats()
        assert stats["subscriptions"] == 50
        await client.until_stats(lambda stats: stats["connections"] == before)
        await asyncio.gather(*(stream.next_block() for stream in streams))
        if server.case.name == "uvicorn":
            assert (await client.stats())["threads"] < 10
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)


@pytest.mark.parametrize("grant", ["reauthorized", "async-reauthorized"])
async def test_a_reauthorization_gives_its_connection_back(
    client: Client, inngest: DevServer, grant: str, server: RunningServer
) -> None:
    before = (await client.stats())["connections"]
    async with client.stream(f"{grant}/stream", username="ada") as stream:
        await stream.next_block()
        for _ in range(6):
            assert (await stream.next_block()).comment
        await client.until_stats(lambda stats: stats["connections"] == before)
        await inngest.publish("inbox:ada", "mail", 1)
        assert (await stream.next_event()).json["data"] == 1
    await client.until_stats(lambda stats: stats["subscriptions"] == 0)


async def test_a_server_stops_although_streams_are_open(
    server: RunningServer, inngest: DevServer, environment: dict[str, str]
) -> None:
    with running(server.case, inngest.url, **environment) as own:
        async with Client(own.url) as client:
            await client.http.get("/login/ada")
            async with client.stream("inbox/stream", username="ada") as stream:
                await stream.next_block()
                took = await asyncio.to_thread(own.stop, signal.SIGINT)
                assert took < 3.0


# Without a server


def check(environment: dict[str, str], value: str) -> str:
    """What `manage.py check` says of a value of the setting."""
    code = f"""
import django_project.settings as settings
settings.INNGEST_REALTIME = {value}
import django
from django.core.management import call_command
django.setup()
call_command("check")
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS,
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "DJANGO_SETTINGS_MODULE": "django_project.settings",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    return result.stderr + result.stdout


@pytest.mark.parametrize(
    ("value", "id", "says"),
    [
        ("[]", "E001", "is list"),
        ("{'GRANT': []}", "E002", "Did you mean 'GRANTS'?"),
        ("{'REALTIME': 'django_project.realtime.nothing'}", "E003", "cannot be imported"),
        ("{'REALTIME': 5}", "E003", "is 5, which is not a Realtime"),
        ("{'GRANTS': 'nowhere.grants'}", "E004", "No module named 'nowhere'"),
        ("{'GRANTS': ['inbox']}", "E004", "contains"),
        ("{'HEARTBEAT': '10'}", "E005", "seconds above 0"),
        ("{'HEARTBEAT': 0}", "E007", "seconds above 0"),
        ("{'MAX_STREAMS': '1'}", "E006", "None for no limit"),
        ("{}", "W001", "serve nothing"),
        (
            "{'REALTIME': 'django_project.realtime.realtime', 'GRANTS': 'django_project.realtime.grants'}",
            "",
            "no issues",
        ),
    ],
)
def test_system_checks_explain_a_wrong_setting(environment: dict[str, str], value: str, id: str, says: str) -> None:
    said = check(environment, value)
    assert says in said, said
    assert ("inngest_realtime." in said) == bool(id)
    assert f"inngest_realtime.{id}" in said or not id


@pytest.mark.parametrize("installed", [True, False])
def test_system_checks_miss_the_app_whose_urls_are_included(environment: dict[str, str], installed: bool) -> None:
    value = "{'GRANTS': 'django_project.realtime.grants'}"
    if not installed:
        value += "\nsettings.INSTALLED_APPS.remove('inngest_realtime_django')"
    said = check({**environment, "INNGEST_DEV": "0"}, value)
    # What is wrong with the rest is said once, in either case.
    assert said.count("inngest_realtime.W002") == 1
    assert said.count("is included, and the app is not in INSTALLED_APPS") == (0 if installed else 1)


@pytest.mark.parametrize(
    ("variable", "value", "id", "says"),
    [
        ("INNGEST_DEV", "ftp://a", "E008", "INNGEST_DEV must start with http://"),
        ("INNGEST_DEV", "0", "W002", "There is no signing key"),
        ("INNGEST_SIGNING_KEY", "hunter2", "E008", "signing key is not valid"),
    ],
)
def test_system_checks_read_the_environment(
    environment: dict[str, str], variable: str, value: str, id: str, says: str
) -> None:
    said = check({**environment, variable: value}, "{'GRANTS': 'django_project.realtime.grants'}")
    assert says in said, said
    assert f"inngest_realtime.{id}" in said
    assert "hunter2" not in said


def test_names_can_be_reversed(environment: dict[str, str]) -> None:
    code = "from django.urls import reverse; print(reverse('inngest_realtime:token', args=['inbox']))"
    assert manage(environment, "shell", "-c", code).stdout.splitlines()[-1] == "/api/realtime/inbox/token"


def test_importing_the_package_needs_no_settings() -> None:
    code = "import inngest_realtime_django as m; print(sorted(m.__all__))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.stdout.strip() == (
        "['ClientSubscriptionToken', 'Grant', 'RealtimeStreamingResponse', 'Subscription', 'SyncSubscription', "
        "'allow_anyone', 'subscription_stream', 'subscription_token']"
    ), result.stderr


@pytest.mark.parametrize(
    "arguments", [["inbox", "username=ada"], ["--channel", "inbox:ada", "--topics", "mail"]], ids=["grant", "channel"]
)
async def test_the_command_tails_a_channel(
    environment: dict[str, str], inngest: DevServer, arguments: list[str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *MANAGE,
        "realtime_tail",
        *arguments,
        "--limit",
        "2",
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    assert b"Listening to inbox:ada (mail)" in await asyncio.wait_for(process.stderr.readline(), 20)
    for number in range(2):
        await inngest.publish("inbox:ada", "mail", number)
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    assert [json.loads(line)["data"] for line in output.splitlines()] == [0, 1]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "Name one of the grants (inbox"),
        (["inbox", "username"], "NAME=VALUE"),
        (["inbox"], "username is missing"),
        (["--channel", "inbox:ada"], "--topics"),
    ],
)
def test_the_command_explains_what_is_wrong(environment: dict[str, str], arguments: list[str], says: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        manage(environment, "realtime_tail", *arguments)
    assert says in failed.value.stderr
