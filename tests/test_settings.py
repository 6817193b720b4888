from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import inngest
import pytest

from inngest_realtime_core.errors import ConfigurationError
from inngest_realtime_core.settings import HasSettings, InngestApp, Settings

KEY = "signkey-prod-0123456789abcdef"
FALLBACK = "signkey-prod-fedcba9876543210"


@dataclass
class Holder:
    settings: Settings


class TestEnvironment:
    @pytest.mark.parametrize(
        ("environ", "url"),
        [
            ({}, "https://api.inngest.com"),
            ({"INNGEST_DEV": "0"}, "https://api.inngest.com"),
            ({"INNGEST_DEV": "False"}, "https://api.inngest.com"),
            ({"INNGEST_DEV": " "}, "https://api.inngest.com"),
            ({"INNGEST_DEV": "1"}, "http://127.0.0.1:8288"),
            ({"INNGEST_DEV": "true"}, "http://127.0.0.1:8288"),
            ({"INNGEST_DEV": "yes"}, "http://127.0.0.1:8288"),
            ({"INNGEST_DEV": "http://dev:9000"}, "http://dev:9000"),
            ({"INNGEST_DEV": "dev:9000"}, "http://dev:9000"),
            ({"INNGEST_BASE_URL": "https://own.example"}, "https://own.example"),
            ({"INNGEST_BASE_URL": "own.example"}, "https://own.example"),
            ({"INNGEST_BASE_URL": "own.example", "INNGEST_DEV": "1"}, "http://own.example"),
            ({"INNGEST_BASE_URL": "http://a:1", "INNGEST_DEV": "http://b:2"}, "http://a:1"),
            ({"INNGEST_API_BASE_URL": "http://c:3", "INNGEST_BASE_URL": "http://a:1"}, "http://c:3"),
            ({"INNGEST_API_BASE_URL": "", "INNGEST_BASE_URL": "http://a:1"}, "http://a:1"),
            ({"INNGEST_API_BASE_URL": " http://a:1/ "}, "http://a:1"),
        ],
    )
    def test_the_address_is_the_one_the_inngest_package_takes(
        self, environ: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings.resolve(environ=environ)
        assert settings.api_base_url == settings.client_api_base_url == url

        clear(monkeypatch)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        app = inngest.Inngest(app_id="test")
        assert app.api_origin.rstrip("/") == url
        assert Settings.resolve(app) == Settings.resolve() == settings

    def test_keys_and_branch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        environ = {
            "INNGEST_SIGNING_KEY": KEY,
            "INNGEST_SIGNING_KEY_FALLBACK": FALLBACK,
            "INNGEST_ENV": "branch",
            "RENDER_GIT_BRANCH": "other",
        }
        settings = Settings.resolve(environ=environ)
        assert (settings.signing_key, settings.signing_key_fallback, settings.env) == (KEY, FALLBACK, "branch")

        clear(monkeypatch)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert Settings.resolve(inngest.Inngest(app_id="test"), environ={}) == settings

    @pytest.mark.parametrize("variable", ["RAILWAY_GIT_BRANCH", "RENDER_GIT_BRANCH", "VERCEL_GIT_COMMIT_REF"])
    def test_the_branch_as_hosts_tell_it(self, variable: str) -> None:
        assert Settings.resolve(environ={variable: "branch", "INNGEST_ENV": ""}).env == "branch"

    def test_the_process_environment_is_read_at_each_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clear(monkeypatch)
        monkeypatch.setenv("INNGEST_DEV", "http://one:1")
        assert Settings.resolve().api_base_url == "http://one:1"
        monkeypatch.setenv("INNGEST_DEV", "http://two:2")
        assert Settings.resolve().api_base_url == "http://two:2"

    @pytest.mark.parametrize("variable", ["INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV"])
    def test_a_wrong_address_names_its_variable(self, variable: str) -> None:
        with pytest.raises(ConfigurationError, match=variable):
            Settings.resolve(environ={variable: "ftp://host.example"})


class TestPrecedence:
    def test_arguments_win_over_the_app_and_the_environment(self) -> None:
        app = inngest.Inngest(app_id="test", api_base_url="http://app:1", signing_key=FALLBACK, env="app")
        settings = Settings.resolve(
            app,
            api_base_url="http://argument:1",
            signing_key=KEY,
            signing_key_fallback=FALLBACK,
            env="argument",
            environ={"INNGEST_BASE_URL": "http://environ:1", "INNGEST_ENV": "environ"},
        )
        assert settings == Settings("http://argument:1", "http://argument:1", KEY, FALLBACK, "argument")

    def test_the_app_wins_over_the_environment(self) -> None:
        app = inngest.Inngest(app_id="test", api_base_url="http://app:1", signing_key=KEY, env="app")
        settings = Settings.resolve(app, environ={"INNGEST_BASE_URL": "http://environ:1", "INNGEST_ENV": "environ"})
        assert (settings.api_base_url, settings.signing_key, settings.env) == ("http://app:1", KEY, "app")

    def test_an_inngest_client_in_dev_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clear(monkeypatch)
        app = inngest.Inngest(app_id="test", is_production=False)
        assert isinstance(app, InngestApp)
        assert Settings.resolve(app) == Settings("http://127.0.0.1:8288", "http://127.0.0.1:8288")
        assert Settings.resolve(app, api_base_url="host:1").api_base_url == "http://host:1"

    def test_anything_with_settings(self) -> None:
        base = Settings("http://a:1", "http://browser:1", KEY, FALLBACK, "branch")
        holder = Holder(base)
        assert isinstance(holder, HasSettings)
        assert Settings.resolve(holder, environ={"INNGEST_ENV": "x"}) == base
        assert Settings.resolve(holder, env="other").env == "other"

    @pytest.mark.parametrize("app", [object(), "app", 7, Holder(settings={})])  # type: ignore[arg-type]
    def test_something_else_as_app(self, app: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"app must be an inngest\.Inngest or a Realtime"):
            Settings.resolve(app)

    def test_the_address_of_browsers(self) -> None:
        assert Settings.resolve(api_base_url="http://a:1", environ={}).client_api_base_url == "http://a:1"
        settings = Settings.resolve(
            api_base_url="http://inngest:8288", client_api_base_url="https://rt.example/x/", environ={}
        )
        assert (settings.api_base_url, settings.client_api_base_url) == ("http://inngest:8288", "https://rt.example/x")
        moved = Settings.resolve(Holder(settings), api_base_url="http://other:1")
        assert (moved.api_base_url, moved.client_api_base_url) == ("http://other:1", "https://rt.example/x")


class TestAddresses:
    @pytest.mark.parametrize(
        ("given", "url", "websocket"),
        [
            ("http://a:1", "http://a:1", "ws://a:1/v1/realtime/connect"),
            ("https://a", "https://a", "wss://a/v1/realtime/connect"),
            ("https://a/prefix//", "https://a/prefix", "wss://a/prefix/v1/realtime/connect"),
            ("http://[::1]:8288", "http://[::1]:8288", "ws://[::1]:8288/v1/realtime/connect"),
            ("HTTP://A:1", "http://A:1", "ws://A:1/v1/realtime/connect"),
            ("http", "https://http", "wss://http/v1/realtime/connect"),
        ],
    )
    def test_are_normalised(self, given: str, url: str, websocket: str) -> None:
        settings = Settings.resolve(api_base_url=given, environ={})
        assert (settings.api_base_url, settings.websocket_url) == (url, websocket)
        assert settings.url("token") == f"{url}/v1/realtime/token"

    @pytest.mark.parametrize(
        "given",
        [
            "ftp://a",
            "ws://a",
            "http://",
            "http:///path",
            "http://a:port",
            "http://a:99999",
            "http://a:0",
            "http://a b",
            "http://a\nb",
            "http://a\\b",
            "http://[::1",
            "http://user:hunter2@a",
            "http://hunter2@a",
            "http://a?token=hunter2",
            "http://a?",
            "http://a#hunter2",
        ],
    )
    def test_wrong_ones_are_refused_without_repeating_them(self, given: str) -> None:
        for argument in ("api_base_url", "client_api_base_url"):
            keywords: dict[str, Any] = {argument: given}
            with pytest.raises(ConfigurationError, match=argument) as caught:
                Settings.resolve(environ={}, **keywords)
            assert "hunter2" not in str(caught.value)
            assert caught.value.__cause__ is None

    @pytest.mark.parametrize("env", ["a\r\nx: y", "ünï", " a"])
    def test_a_branch_that_is_no_header_is_refused(self, env: str) -> None:
        with pytest.raises(ConfigurationError, match="INNGEST_ENV"):
            Settings.resolve(env=env, environ={})


class TestSigningKey:
    def test_the_cloud_needs_one_when_it_is_called(self) -> None:
        settings = Settings.resolve(environ={})
        with pytest.raises(ConfigurationError, match="Set INNGEST_SIGNING_KEY"):
            settings.require_signing_key()
        Settings.resolve(signing_key=KEY, environ={}).require_signing_key()

    @pytest.mark.parametrize("url", ["http://127.0.0.1:8288", "https://own.example", "https://notinngest.com"])
    def test_other_servers_decide_for_themselves(self, url: str) -> None:
        Settings.resolve(api_base_url=url, environ={}).require_signing_key()

    def test_no_key_is_shown(self) -> None:
        settings = Settings("http://a:1", "http://a:1", KEY, FALLBACK, "branch")
        assert (
            repr(settings)
            == str(settings)
            == ("Settings(api_base_url='http://a:1', client_api_base_url='http://a:1', env='branch')")
        )
        assert pickle.loads(pickle.dumps(settings)) == settings


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (
        "INNGEST_API_BASE_URL",
        "INNGEST_BASE_URL",
        "INNGEST_DEV",
        "INNGEST_ENV",
        "INNGEST_SIGNING_KEY",
        "INNGEST_SIGNING_KEY_FALLBACK",
        "RAILWAY_GIT_BRANCH",
        "RENDER_GIT_BRANCH",
        "VERCEL_GIT_COMMIT_REF",
    ):
        monkeypatch.delenv(variable, raising=False)
