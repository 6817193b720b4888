"""gevent's hosts, with trio installed beside httpx: what httpx does at its first call fails on a native thread."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inngest_realtime_devserver.server import DevServer

CALLS = """
from inngest_realtime_core import Channel, Realtime, topic

class Answer(Channel, name="answer:{key}"):
    key: str
    tokens = topic(str)

realtime = Realtime()

def call(key):
    answer = Answer(key=str(key))
    realtime.get_client_subscription_token_sync(channel=answer)
    with realtime.subscribe_sync(channel=answer) as subscription:
        with realtime.batch_sync(answer.tokens, every=60) as tokens:
            tokens.send("to")
            tokens.send("gether")
        data = subscription.receive(timeout=10).data
    realtime.publish_stream_sync(answer.tokens, (part for part in ("as", " a stream")))
    return data
"""
GREENLETS = f"""
from gevent import monkey; monkey.patch_all()
import sys
import gevent
{CALLS}
tasks = [gevent.spawn(call, number) for number in range(5)]
gevent.joinall(tasks, timeout=20, raise_error=True)
realtime.close_sync()
assert "trio" in sys.modules
print([task.value for task in tasks])
"""
TASKS = f"""
import os
from celery import Celery

app = Celery("tasks", broker="filesystem://", backend="file://" + os.path.abspath("results"))
folders = {{"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}}
app.conf.broker_transport_options = folders
app.conf.broker_connection_retry_on_startup = True
{CALLS}
@app.task
def work(number):
    return call(number)
"""
SENDER = "from tasks import work; print([sent.get(timeout=40) for sent in [work.delay(number) for number in range(5)]])"


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    with DevServer().in_thread() as server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
        yield {**kept, "INNGEST_DEV": server.url}


def run(code: str, folder: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_greenlets_with_trio_installed(environment: dict[str, str], tmp_path: Path) -> None:
    assert run(GREENLETS, tmp_path, environment) == f"{['together'] * 5}\n"


@pytest.mark.parametrize("pool", ["gevent", "prefork"])
def test_celery(pool: str, environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks.py").write_text(TASKS)
    arguments = ["worker", "--pool", pool, "--concurrency", "3", "--without-gossip", "--without-mingle"]
    with (tmp_path / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "celery", "-A", "tasks", *arguments]
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            assert run(SENDER, tmp_path, environment) == f"{['together'] * 5}\n", (tmp_path / "worker.log").read_text()
        finally:
            worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(15)
            worker.kill()
            worker.wait()
