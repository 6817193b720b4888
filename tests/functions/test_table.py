"""The table of docs/functions.md, what the SDK for Python lacks: each row is tested here, with the real package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import inngest
import pytest

from docs.blocks import ROOT
from inngest_realtime_cli.types import typescript
from inngest_realtime_core import ChannelError, PublishError, Realtime
from inngest_realtime_devserver.server import DevServer
from talk import Pipeline, Status

from .conftest import Stage

EVENT = inngest.TriggerEvent(event="test/event")


class Scene:
    """What the tests have in common: `play(work)` executes a function, async or not, and returns what was received."""

    def __init__(self, stage: Stage, rt: Realtime, client: inngest.Inngest, dev: DevServer, ch: Pipeline) -> None:
        self.stage, self.rt, self.client, self.dev, self.ch = stage, rt, client, dev, ch

    def play(self, work: Callable[[Any], Any], **options: Any) -> list[tuple[str, Any]]:
        function: Any = self.client.create_function(fn_id="work", trigger=EVENT)(work)
        run = self.stage.play(self.ch, [function], **options)
        assert run.error is None
        assert {message.run_id for message in self.stage.messages} == {run.id}
        return [(message.topic, message.data) for message in self.stage.messages]


def publish(scene: Scene) -> None:
    rt, ch = scene.rt, scene.ch

    async def work(ctx: inngest.Context) -> None:
        await rt.publish(ch.status, Status(message="async"))

    def work_sync(ctx: inngest.ContextSync) -> None:
        rt.publish_sync(ch.status, Status(message="sync"))

    assert scene.play(work) == [("status", {"message": "async", "step": None})]
    assert scene.play(work_sync) == [("status", {"message": "sync", "step": None})]


def tokens(scene: Scene) -> None:
    token = scene.rt.get_client_subscription_token_sync(channel=scene.ch, topics=["status"])
    assert set(token.to_dict()) == {"key", "apiBaseUrl"}
    # It opens what it was made for, and nothing else.
    with Realtime(api_base_url=scene.dev.url).subscribe_sync(
        channel=scene.ch, topics=["status"], key=token.key
    ) as stream:
        scene.rt.publish_sync(scene.ch.status, Status(message="seen"))
        message = stream.receive(timeout=5)
        assert message is not None
        assert message.data.message == "seen"


def typed_channels(scene: Scene) -> None:
    anything: Any = scene.rt
    with pytest.raises(PublishError, match="does not fit the topic's type"):
        anything.publish_sync(scene.ch.status, {"massage": "Done"})
    with pytest.raises(ChannelError):
        Pipeline(run_id="a:b")
    with scene.rt.subscribe_sync(channel=scene.ch, topics=["status"]) as stream:
        scene.rt.publish_sync(scene.ch.status, Status(message="typed"))
        message = stream.receive(timeout=5)
        assert message is not None
        assert scene.ch.status.matches(message)
        assert message.data == Status(message="typed")


def durable(scene: Scene) -> None:
    rt, ch = scene.rt, scene.ch

    async def work(ctx: inngest.Context) -> None:
        await rt.publish_step(ctx, "done", ch.tokens, "async")
        if ctx.attempt == 0:
            raise ValueError

    def work_sync(ctx: inngest.ContextSync) -> None:
        rt.publish_step_sync(ctx, "done", ch.tokens, "sync")
        if ctx.attempt == 0:
            raise ValueError

    assert scene.play(work, lost=["done"]) == [("tokens", "async")]
    assert scene.play(work_sync, lost=["done"]) == [("tokens", "sync")]


def subscribing(scene: Scene) -> None:
    """One function subscribes to what another one publishes; see tests/test_subscription.py for the rest."""
    rt, ch = scene.rt, scene.ch

    async def work(ctx: inngest.Context) -> str:
        async with rt.subscribe(channel=ch, topics=["tokens"]) as stream:
            await rt.publish(ch.tokens, "to itself")
            message = await stream.receive(timeout=5)
        return "" if message is None else str(message.data)

    def work_sync(ctx: inngest.ContextSync) -> str:
        with rt.subscribe_sync(channel=ch, topics=["tokens"]) as stream:
            rt.publish_sync(ch.tokens, "to itself")
            message = stream.receive(timeout=5)
        return "" if message is None else str(message.data)

    for one in (work, work_sync):
        assert scene.play(one) == [("tokens", "to itself")]


def front_end(_scene: Scene) -> None:
    assert "export const pipeline = " in typescript([Pipeline], zod=False)


ROWS: dict[str, Callable[[Scene], None]] = {
    "publish from a function": publish,
    "tokens for browsers": tokens,
    "typed channels and topics": typed_channels,
    "a durable publish step": durable,
    "subscribing from the server": subscribing,
    "types for a TypeScript front end": front_end,
}


def rows_of_the_page() -> list[list[str]]:
    text = (ROOT / "docs" / "functions.md").read_text()
    table = text.partition("## Inngest's table, filled")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return rows[2:]


def test_the_table_has_a_test_for_each_row_and_no_empty_cell() -> None:
    rows = rows_of_the_page()
    assert [row[0] for row in rows] == list(ROWS)
    assert all(row[2] not in ("", "no") for row in rows)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table(
    row: str, stage: Stage, rt: Realtime, client: inngest.Inngest, dev: DevServer, pipeline: Pipeline
) -> None:
    ROWS[row](Scene(stage, rt, client, dev, pipeline))
