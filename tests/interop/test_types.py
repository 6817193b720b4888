"""The generated TypeScript: accepted by `tsc --strict` with the real SDK, and true of what Python publishes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from inngest_realtime_cli.types import channels_of, typescript
from inngest_realtime_core import Realtime
from inngest_realtime_devserver.server import DevServer
from interop import shapes
from interop.conftest import HERE, Node

TSC = "--noEmit --strict --target es2022 --module esnext --moduleResolution bundler --jsx react-jsx --skipLibCheck"
TSC += " --exactOptionalPropertyTypes"


@pytest.fixture
def project(tmp_path: Path, packages: Path) -> Path:
    """A folder with the npm packages, client.js and a file for generated channels."""
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name in ("client.js", "client.d.ts"):
        (tmp_path / name).write_text((files("inngest_realtime_core.endpoints") / name).read_text())
    shutil.copy(HERE / "typescript" / "pages.tsx", tmp_path)
    return tmp_path


def tsc(node: Node, project: Path, *names: str, options: str = TSC) -> subprocess.CompletedProcess[str]:
    return node(str(project / "node_modules" / "typescript" / "bin" / "tsc"), *options.split(), *names, cwd=project)


@pytest.mark.parametrize("zod", [False, True], ids=["types only", "zod"])
def test_pages_are_checked_strictly(zod: bool, project: Path, node: Node) -> None:
    assert len(shapes.Shapes.topics()) >= 30
    (project / "channels.ts").write_text(typescript(channels_of([shapes]), zod=zod))
    done = tsc(node, project, "pages.tsx")
    assert done.returncode == 0, done.stdout
    # Without what they are written for, the pages' complaints would be complaints about nothing.
    (project / "channels.ts").write_text("export const shapes: any = 0, job: any = 0, httpRequests: any = 0;\n")
    assert tsc(node, project, "pages.tsx").returncode != 0


def test_what_python_publishes_passes_the_generated_zod(project: Path, node: Node) -> None:
    (project / "channels.ts").write_text(typescript(channels_of([shapes]), zod=True))
    built = tsc(node, project, "channels.ts", options=TSC.replace("--noEmit ", ""))
    assert built.returncode == 0, built.stdout
    shutil.copy(HERE / "received.mjs", project)
    channel = shapes.Shapes(run_id=uuid.uuid4().hex)
    assert set(shapes.VALUES) == set(channel.topics())
    with DevServer().in_thread() as server:
        realtime = Realtime(api_base_url=server.url, linger=0)
        token = realtime.get_client_subscription_token_sync(channel=channel)
        wanted = {
            "channels": "./channels.js",
            "token": token.to_dict(),
            "topics": list(shapes.VALUES),
            "count": len(shapes.VALUES),
            "runId": channel.run_id,
        }
        command = ["node", "--experimental-websocket", "--no-warnings", "received.mjs", json.dumps(wanted)]
        with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "open\n"
            server.until_sync(lambda stats: stats.subscriptions == len(shapes.VALUES))
            for name, value in shapes.VALUES.items():
                realtime.publish_sync((channel, name), value)
            received: list[dict[str, Any]] = [json.loads(line) for line in reader.stdout]
        realtime.close_sync()
    assert [line.get("topic") or line for line in received] == list(shapes.VALUES)
    for line in received:
        topic = channel.topics()[line["topic"]]
        adapter, without = topic.adapter, topic.exclude_none
        value = shapes.VALUES[line["topic"]]
        sent = (
            value if adapter is None else adapter.dump_python(value, mode="json", by_alias=True, exclude_none=without)
        )
        assert line["data"] == sent, "the schema has changed it"


def test_the_command_writes_what_the_function_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inngest_realtime_cli", "types", "interop.shapes", "--out", "channels.ts", "--zod"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(HERE.parent)}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expected = typescript(channels_of([shapes]), zod=True, source="interop.shapes")
    assert (tmp_path / "channels.ts").read_text() == expected
