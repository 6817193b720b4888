"""The deployment example: what can be tried of it without containers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parent.parent / "examples" / "deploy"


def test_the_services_fit_each_other() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services["app"]["depends_on"]) | {"app", "nginx"} == set(services)
    assert "server app:8000;" in (DEPLOY / "nginx.conf").read_text()
    assert '--port", "8000"' in (DEPLOY / "Dockerfile").read_text()


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    site = (
        (DEPLOY / "nginx.conf").read_text().replace("server app:8000", "server 127.0.0.1:8000").replace("80;", "8080;")
    )
    main = tmp_path / "nginx.conf"
    main.write_text(f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {site} }}")
    done = subprocess.run(
        [nginx, "-t", "-c", str(main), "-p", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


async def test_the_application_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEPLOY))
    monkeypatch.setenv("INNGEST_DEV", "http://127.0.0.1:9")
    import app as deployed
    import httpx

    transport = httpx.ASGITransport(app=deployed.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as site:
        assert (await site.get("/ready")).json() == {"ready": True}
        assert (await site.get("/api/realtime/run/stream")).status_code == 400
    await deployed.realtime.close()
