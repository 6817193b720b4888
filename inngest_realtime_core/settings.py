"""Where Inngest is and how to sign, read as the `inngest` package reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from .errors import ConfigurationError

__all__ = ["HasSettings", "InngestApp", "Settings"]

CLOUD_URL = "https://api.inngest.com"
DEV_SERVER_URL = "http://127.0.0.1:8288"

# The names of the branch environment, in the order in which the `inngest` package looks at them.
_ENV_VARIABLES = ("INNGEST_ENV", "RAILWAY_GIT_BRANCH", "RENDER_GIT_BRANCH", "VERCEL_GIT_COMMIT_REF")


@runtime_checkable
class InngestApp(Protocol):
    """The public properties of an `inngest.Inngest` that matter here."""

    @property
    def api_origin(self) -> str: ...
    @property
    def signing_key(self) -> str | None: ...
    @property
    def signing_key_fallback(self) -> str | None: ...
    @property
    def env(self) -> str | None: ...


@runtime_checkable
class HasSettings(Protocol):
    """Anything that carries `Settings`, such as a `Realtime`."""

    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True)
class Settings:
    """Where Inngest is and how to sign. The repr holds no key.

    Attributes:
        api_base_url: The address this process calls, without a trailing slash.
        client_api_base_url: The address that browsers use, when it differs (containers, proxies).
        signing_key: `signkey-<env>-<hex>`, or None: the dev server needs none.
        signing_key_fallback: Tried when the signing key is refused, while keys are being rotated.
        env: The branch environment, sent as `x-inngest-env`.
    """

    api_base_url: str
    client_api_base_url: str
    signing_key: str | None = field(default=None, repr=False)
    signing_key_fallback: str | None = field(default=None, repr=False)
    env: str | None = None

    @classmethod
    def resolve(
        cls,
        app: InngestApp | HasSettings | Settings | None = None,
        *,
        api_base_url: str | None = None,
        client_api_base_url: str | None = None,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
        env: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Find out the settings: the arguments first, then `app`, then the environment.

        The environment is read as the `inngest` package reads it. Address: `INNGEST_API_BASE_URL`, then
        `INNGEST_BASE_URL`, then `INNGEST_DEV` when it is a URL, then the dev server when `INNGEST_DEV` is true, else
        Inngest's cloud. Keys: `INNGEST_SIGNING_KEY` and `INNGEST_SIGNING_KEY_FALLBACK`. Branch: `INNGEST_ENV`, then
        the variables of Railway, Render and Vercel. With an `app`, the environment is not looked at: the app did that.

        Args:
            app: An `inngest.Inngest`, other `Settings`, or anything with `.settings`, such as a `Realtime`.
            environ: Read instead of `os.environ`.

        Raises:
            ConfigurationError: An address is not a plain http(s) URL, `env` cannot be sent, or `app` is something else.
        """
        environ = os.environ if environ is None else environ
        base = _base(app, environ)
        # An address without a scheme gets the one that fits, as in the `inngest` package.
        scheme = "http" if _is_dev(app, environ) else "https"
        url = _base_url(api_base_url, "api_base_url", scheme) if api_base_url else base.api_base_url
        if client_api_base_url:
            client_url = _base_url(client_api_base_url, "client_api_base_url", scheme)
        elif base.client_api_base_url != base.api_base_url:
            client_url = base.client_api_base_url
        else:
            client_url = url
        return cls(
            api_base_url=url,
            client_api_base_url=client_url,
            signing_key=signing_key or base.signing_key,
            signing_key_fallback=signing_key_fallback or base.signing_key_fallback,
            env=_header_value(env or base.env),
        )

    def at(self, api_base_url: str) -> Settings:
        """The same settings for another address of Inngest.

        Raises:
            ConfigurationError: It is not a plain http(s) URL.
        """
        return Settings.resolve(self, api_base_url=api_base_url)

    @property
    def websocket_url(self) -> str:
        """The address of the WebSocket, `ws(s)://.../v1/realtime/connect`, without the token."""
        return f"ws{self.url('connect').removeprefix('http')}"

    def url(self, endpoint: str) -> str:
        """The address of a realtime endpoint: `token`, `connect`, `publish` or `sse`."""
        return f"{self.api_base_url}/v1/realtime/{endpoint}"

    def require_signing_key(self) -> None:
        """Raise `ConfigurationError` when Inngest's cloud is to be called and there is no signing key.

        Any other server decides for itself: a dev server needs no key, and one that does answers 401.
        """
        host = urlsplit(self.api_base_url).hostname or ""
        if self.signing_key is None and (host == "inngest.com" or host.endswith(".inngest.com")):
            raise ConfigurationError(
                f"There is no signing key, and {self.api_base_url} needs one. Set INNGEST_SIGNING_KEY (or pass "
                "signing_key=), or set INNGEST_DEV=1 to use the Inngest dev server on this machine."
            )


def _base(app: InngestApp | HasSettings | Settings | None, environ: Mapping[str, str]) -> Settings:
    if app is None:
        return _from_environ(environ)
    settings: Any = app if isinstance(app, Settings) else getattr(app, "settings", None)
    if isinstance(settings, Settings):
        return settings
    if not isinstance(app, InngestApp):
        raise ConfigurationError(
            f"app must be an inngest.Inngest or a Realtime, not {type(app).__name__}. "
            "Leave it out to read the environment."
        )
    url = _base_url(app.api_origin, "app.api_origin", "https")
    return Settings(url, url, app.signing_key or None, app.signing_key_fallback or None, app.env or None)


def _from_environ(environ: Mapping[str, str]) -> Settings:
    dev = environ.get("INNGEST_DEV", "").strip()
    scheme = "http" if _is_dev(None, environ) else "https"
    url = DEV_SERVER_URL if scheme == "http" else CLOUD_URL
    for variable in ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL"):
        value = environ.get(variable, "").strip()
        if value:
            url = _base_url(value, variable, scheme)
            break
    else:
        if "." in dev or ":" in dev:
            url = _base_url(dev, "INNGEST_DEV", scheme)
    return Settings(
        api_base_url=url,
        client_api_base_url=url,
        signing_key=environ.get("INNGEST_SIGNING_KEY") or None,
        signing_key_fallback=environ.get("INNGEST_SIGNING_KEY_FALLBACK") or None,
        env=next((environ[name] for name in _ENV_VARIABLES if environ.get(name)), None),
    )


def _header_value(env: str | None) -> str | None:
    # It is sent as a header, which carries printable ASCII only; a line break would be a second header.
    if env is not None and not (env.isascii() and env.isprintable() and env == env.strip()):
        raise ConfigurationError(f"The environment's name {env!r} is not printable ASCII. Check INNGEST_ENV or env=.")
    return env


def _is_dev(app: object, environ: Mapping[str, str]) -> bool:
    is_production = getattr(app, "is_production", None)
    if isinstance(is_production, bool):
        return not is_production
    return environ.get("INNGEST_DEV", "").strip().lower() not in ("", "0", "false")


def _base_url(text: str, source: str, scheme: str) -> str:
    """Check and normalise an address. The message shows no part of it that may hold a password or a token."""
    text = text.strip()
    if "://" not in text:
        text = f"{scheme}://{text}"
    wanted = f"Expected an address such as {DEV_SERVER_URL} or {CLOUD_URL}."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"{source} is not a valid URL. {wanted}") from None
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{source} must start with http:// or https://. {wanted}")
    if not host or port == 0 or not text.isprintable() or " " in text or "\\" in text:
        raise ConfigurationError(f"{source} is not a valid URL. {wanted}")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{source} holds a user name or a password. {wanted} Inngest uses the signing key.")
    if "?" in text or "#" in text:
        raise ConfigurationError(f"{source} holds a query or a fragment. {wanted}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
