"""Streams of HTML, as htmx takes them: what a grant's `render` makes of messages."""

from __future__ import annotations

import asyncio

from conformance.client import Client
from inngest_realtime_devserver.server import DevServer


async def test_messages_are_html_and_resume(client: Client, inngest: DevServer, run_id: str) -> None:
    channel = f"pipeline:{run_id}"
    async with client.stream("rendered/stream", runId=run_id) as stream:
        assert (await stream.next_block()).json["kind"] == "ready"
        await inngest.publish(channel, "status", {"message": "no fragment"})
        await inngest.publish(channel, "tokens", "<b>")
        event = await stream.next_event()
        assert (event.event, event.data) == ("tokens", "<li>\n&lt;b&gt;\n</li>")
        assert event.id
    await inngest.publish(channel, "tokens", "while away")
    async with client.stream("rendered/stream", runId=run_id, headers={"Last-Event-ID": event.id}) as stream:
        again = await stream.next_event()
        assert (again.event, again.data) == ("tokens", "<li>\nwhile away\n</li>")
        inngest.drop_connections(channel)
        assert (await stream.next_event()).event == "gap"


async def test_json_may_be_asked_for(client: Client, inngest: DevServer, run_id: str) -> None:
    async with client.stream("rendered/stream", runId=run_id, format="json") as stream:
        await stream.next_block()
        await inngest.publish(f"pipeline:{run_id}", "tokens", "<b>")
        event = await stream.next_event()
        assert (event.event, event.json["data"]) == (None, "<b>")


async def test_a_message_is_rendered_once_for_everybody(client: Client, inngest: DevServer, run_id: str) -> None:
    async with (
        client.stream("rendered/stream", runId=run_id) as one,
        client.stream("rendered/stream", runId=run_id) as two,
    ):
        await asyncio.gather(one.next_block(), two.next_block())
        before = (await client.stats())["fragments"]
        for number in range(3):
            await inngest.publish(f"pipeline:{run_id}", "tokens", number)
        for stream in (one, two):
            assert [(await stream.next_event()).data for _ in range(3)] == [f"<li>\n{n}\n</li>" for n in range(3)]
        assert (await client.stats())["fragments"] == before + 3
