"""Where Inngest is and how to sign, read as the `inngest` package reads it."""

from __future__ import annotations

import hashlib
import inspect
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict, runtime_checkable
from urllib.parse import SplitResult, urlsplit

from ._telemetry.secret_struct import SecretStruct
from .arguments import check_text, describe
from .errors import ConfigurationError

CLOUD_URL = "https://api.inngest.com"
DEV_SERVER_URL = "http://127.0.0.1:8288"

address_checks: list[Callable[[str], None]] = []
"""Each is called with an address of Inngest before it is called, and raises what keeps that from happening."""

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


class Settings(SecretStruct, frozen=True):
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
    signing_key: str | None = None
    signing_key_fallback: str | None = None
    env: str | None = None

    def __repr__(self) -> str:
        return (
            f"Settings(api_base_url={self.api_base_url!r}, client_api_base_url={self.client_api_base_url!r}, "
            f"env={self.env!r})"
        )

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
        found = _resolve(
            app,
            SettingsArguments(
                api_base_url=api_base_url,
                client_api_base_url=client_api_base_url,
                signing_key=signing_key,
                signing_key_fallback=signing_key_fallback,
                env=env,
            ),
            environ,
        )
        if isinstance(found, Settings):
            return found
        # Error reports show the local variables of the frames that an error went through.
        del api_base_url, client_api_base_url, signing_key, signing_key_fallback, environ
        raise found

    def at(self, api_base_url: str | None) -> Settings:
        """The same settings for another address of Inngest; None for the same one.

        Raises:
            ConfigurationError: It is not a plain http(s) URL.
        """
        if api_base_url is None:
            return self
        found = _resolve(self, SettingsArguments(api_base_url=api_base_url), None)
        del api_base_url  # it may hold a password
        if isinstance(found, Settings):
            return found
        raise found

    @property
    def websocket_url(self) -> str:
        """The address of the WebSocket, `ws(s)://.../v1/realtime/connect`, without the token."""
        return f"ws{self.url('connect').removeprefix('http')}"

    def url(self, endpoint: str) -> str:
        """The address of a realtime endpoint: `token`, `connect`, `publish` or `sse`."""
        for check in address_checks:
            check(self.api_base_url)
        return f"{self.api_base_url}/v1/realtime/{endpoint}"

    def require_signing_key(self) -> None:
        """Raise `ConfigurationError` when Inngest's cloud is to be called and there is no signing key.

        Any other server decides for itself: a dev server needs no key, and one that does responds with 401.
        """
        host = urlsplit(self.api_base_url).hostname or ""
        if self.signing_key is None and (host == "inngest.com" or host.endswith(".inngest.com")):
            raise ConfigurationError(
                f"There is no signing key, and {self.api_base_url} needs one. Set INNGEST_SIGNING_KEY (or pass "
                "signing_key=), or set INNGEST_DEV=1 to use the Inngest dev server on this machine."
            )


class SettingsArguments(TypedDict, total=False):
    """What a caller says of the settings; what is None is taken from the app or the environment."""

    api_base_url: str | None
    client_api_base_url: str | None
    signing_key: str | None
    signing_key_fallback: str | None
    env: str | None


def hash_signing_key(key: str) -> str:
    """The sha256 hex digest of the bytes of `<hex>` in `signkey-<env>-<hex>`, as the `inngest` package sends it."""
    digest = _digest(key)
    del key  # error reports show the local variables of the frames that an error went through
    if digest is None:
        raise ConfigurationError(
            "The signing key is not valid: expected signkey-<env>-<hexadecimal digits>. "
            "Copy INNGEST_SIGNING_KEY (and INNGEST_SIGNING_KEY_FALLBACK) again from Inngest's settings."
        )
    return digest


def _digest(key: str) -> str | None:
    key = key.strip()
    prefix = re.match(r"signkey-\w+-", key)
    try:
        secret = bytes.fromhex(key[prefix.end() :] if prefix else key)
    except ValueError:
        return None
    return hashlib.sha256(secret).hexdigest() if secret else None


def settings_problem(app: object, given: SettingsArguments) -> ConfigurationError | None:
    """What is wrong with the app or an argument, without the frames in which keys are looked at."""
    try:
        _check_app(app)
        _checked(given, _scheme(app, {}))
    except ConfigurationError as error:
        return error.with_traceback(None)
    return None


def _resolve(
    app: InngestApp | HasSettings | Settings | None, given: SettingsArguments, environ: Mapping[str, str] | None
) -> Settings | ConfigurationError:
    """The settings, or what is wrong with them, without the frames in which keys are looked at."""
    problem = settings_problem(app, given)
    if problem is not None:
        return problem
    environ = os.environ if environ is None else environ
    try:
        base = _base(app, environ)
        own = _checked(given, _scheme(app, environ))
        address = own["api_base_url"] or base.api_base_url
        moved = base.client_api_base_url == base.api_base_url
        return Settings(
            api_base_url=address,
            client_api_base_url=own["client_api_base_url"] or (address if moved else base.client_api_base_url),
            signing_key=own["signing_key"] or base.signing_key,
            signing_key_fallback=own["signing_key_fallback"] or base.signing_key_fallback,
            env=_header_value(own["env"] or base.env),
        )
    except ConfigurationError as error:
        return error.with_traceback(None)


def _checked(given: SettingsArguments, scheme: str) -> dict[str, str | None]:
    """All arguments, the addresses normalised; None for what is not given."""
    values = {name: check_text(name, given.get(name)) for name in SettingsArguments.__annotations__}
    for name in ("api_base_url", "client_api_base_url"):
        if (url := values[name]) is not None:
            values[name] = _base_url(url, name, scheme)
    for name in ("signing_key", "signing_key_fallback"):
        if (key := values[name]) is not None:
            hash_signing_key(key)
    _header_value(values["env"])
    return values


def _check_app(app: object) -> None:
    if app is None or isinstance(app, Settings):
        return
    if not isinstance(app, type):
        # Looked at from outside: the settings of a Realtime are found out at their first use.
        settings: Any = inspect.getattr_static(app, "settings", None)
        if (
            isinstance(settings, (Settings, property))
            or inspect.isdatadescriptor(settings)
            or isinstance(app, InngestApp)
        ):
            return
    raise ConfigurationError(
        f"app must be an inngest.Inngest or a Realtime, not {describe(app)}. Leave it out to read the environment; "
        "an address goes into api_base_url=."
    )


def _base(app: Any, environ: Mapping[str, str]) -> Settings:
    if app is None:
        return _from_environ(environ)
    settings: object = getattr(app, "settings", app)
    if isinstance(settings, Settings):
        return settings
    url = _base_url(app.api_origin, "app.api_origin", "https")
    return Settings(url, url, app.signing_key or None, app.signing_key_fallback or None, app.env or None)


def _from_environ(environ: Mapping[str, str]) -> Settings:
    dev = environ.get("INNGEST_DEV", "").strip()
    scheme = _scheme(None, environ)
    url = DEV_SERVER_URL if scheme == "http" else CLOUD_URL
    for variable in ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL"):
        value = environ.get(variable, "").strip()
        if value:
            url = _base_url(value, variable, scheme)
            break
    else:
        if "." in dev or ":" in dev:
            url = _base_url(dev, "INNGEST_DEV", scheme)
    for variable in ("INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK"):
        if environ.get(variable):
            hash_signing_key(environ[variable])
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


def _scheme(app: object, environ: Mapping[str, str]) -> str:
    """What an address without a scheme gets, as in the `inngest` package."""
    is_production = getattr(app, "is_production", None)
    if not isinstance(is_production, bool):
        is_production = environ.get("INNGEST_DEV", "").strip().lower() in ("", "0", "false")
    return "https" if is_production else "http"


def _base_url(text: str, source: str, scheme: str) -> str:
    """Check and normalise an address. The message shows no part of it that may hold a password or a token."""
    text = text.strip()
    guessed = "://" not in text
    if guessed:
        text = f"{scheme}://{text}"
    wanted = f"Expected an address such as {DEV_SERVER_URL} or {CLOUD_URL}."
    parts = _split(text)
    if parts is None:
        raise ConfigurationError(f"{source} is not a valid URL. {wanted}")
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{source} must start with http:// or https://. {wanted}")
    host = parts.hostname
    if not host or parts.port == 0 or not text.isprintable() or " " in text or "\\" in text:
        raise ConfigurationError(f"{source} is not a valid URL. {wanted}")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{source} holds a user name or a password. {wanted} Inngest uses the signing key.")
    if "?" in text or "#" in text:
        raise ConfigurationError(f"{source} holds a query or a fragment. {wanted}")
    if guessed and scheme == "https" and _is_loopback(host):
        raise ConfigurationError(f"{source} has no scheme. Write http://{parts.netloc}, or https:// if that is meant.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _split(text: str) -> SplitResult | None:
    """The parts of an address. What is wrong with one is raised elsewhere: its context would hold the text."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
