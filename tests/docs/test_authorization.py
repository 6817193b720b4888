"""What the page on authorization shows of packages that applications log their users in with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inngest_realtime_devserver import DevServer

from .blocks import ROOT, blocks_of

FLASK = """
import flask
from flask_login import LoginManager, UserMixin, login_user

from channels import realtime
from flask_login_grants import grants
from inngest_realtime_flask import realtime_blueprint

app = flask.Flask("site")
app.secret_key = "only for tests"
manager = LoginManager(app)


class User(UserMixin):
    id = 7


manager.user_loader(lambda identity: User())


@app.get("/login")
def login():
    login_user(User())
    return ""


app.register_blueprint(realtime_blueprint(realtime, grants), url_prefix="/realtime")
client = app.test_client()
assert client.get("/realtime/inbox/token?userId=7").status_code == 403
client.get("/login")
assert client.get("/realtime/inbox/token?userId=8").status_code == 403
assert set(client.get("/realtime/inbox/token?userId=7").json) == {"key", "apiBaseUrl"}
"""
DJANGO = """
import django
from django.conf import settings

import mysite.settings as page

names = {name: getattr(page, name) for name in dir(page) if name.isupper()}
settings.configure(SECRET_KEY="only for tests", ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], **names)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from rest_framework.authtoken.models import Token

from inngest_realtime_devserver.testing import event_stream_sync

call_command("migrate", verbosity=0)
user = User.objects.create_user("ada")
key = Token.objects.create(user=user).key
client, good = Client(), {"HTTP_AUTHORIZATION": f"Token {key}"}
path = f"/realtime/inbox/token?userId={user.pk}"
assert client.get(path).status_code == 403
assert client.get(path, HTTP_AUTHORIZATION="Token wrong").status_code == 401
assert client.get(f"/realtime/inbox/token?userId={user.pk + 1}", **good).status_code == 403
assert set(client.get(path, **good).json()) == {"key", "apiBaseUrl"}

stream = {"accept": "text/event-stream"}
with event_stream_sync(client, "/inbox", headers=stream) as events:
    assert events.status == 401
with event_stream_sync(client, "/inbox", headers={**stream, "authorization": f"Token {key}"}) as events:
    assert events.receive()[0].event == "ready"
"""
URLS = """
from django.urls import include, path

from mysite.views import inbox

urlpatterns = [path("inbox", inbox), path("realtime/", include("inngest_realtime_django.urls"))]
"""


@pytest.mark.parametrize("script", [FLASK, DJANGO], ids=["flask-login", "rest_framework"])
def test_a_page_of_ones_own_users(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks_of(ROOT / "docs" / "authorization.md"):
        if block.title:
            path = tmp_path / block.title
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.code)
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write('INNGEST_REALTIME = {"REALTIME": "channels.realtime", "GRANTS": "mysite.grants.grants"}\n')
    (tmp_path / "urls.py").write_text(URLS)
    (tmp_path / "script.py").write_text(script)
    with DevServer().in_thread() as server:
        monkeypatch.setenv("INNGEST_DEV", server.url)
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
