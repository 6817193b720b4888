"""Shows one run in the terminal as it arrives on three roads: a browser's token, the server's WebSocket, and SSE."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from inngest_realtime_core import ClientSubscriptionToken, Message, Realtime
from pipeline import Pipeline

TIMEOUT = 60.0  # seconds for one run


def paint(code: str, text: str) -> str:
    shown = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\x1b[{code}m{text}\x1b[0m" if shown else text


@dataclass
class Lane:
    """One road that messages arrive on."""

    label: str
    colour: str
    began: float
    messages: int = 0
    text: list[str] = field(default_factory=list[str])

    def say(self, what: str, detail: str) -> None:
        clock = paint("2", f"{time.monotonic() - self.began:6.2f}s")
        print(f"  {clock}  {paint(self.colour, f'{self.label:<9}')}  {paint('1', f'{what:<7}')}  {detail}", flush=True)

    def take(self, message: dict[str, Any]) -> bool:
        """Prints a message in the documented JSON form; True when the run has ended."""
        self.messages += 1
        kind: str = message["kind"]
        data: Any = message.get("data")
        if kind == "chunk":
            self.text.append(data)
        elif kind == "datastream-end":
            whole = "".join(self.text)
            self.say("tokens", f"{len(self.text)} chunks: {whole[:38]}…{whole[-16:]}")
        elif kind == "gap":
            self.say("gap", f"something may have been missed ({data['reason']})")
        elif kind == "data":
            bar = "█" * round(data["progress"] * 10)
            self.say("status", f"{bar:░<10} {data['message']}")
            return bool(data["step"] == "done")
        return False


async def show(base_url: str) -> bool:
    """Subscribes on three roads, starts a run, prints what arrives. True when all three got the same."""
    run_id = str(uuid.uuid4())
    channel = Pipeline(run_id=run_id)
    began = time.monotonic()
    lanes = [Lane("token", "35", began), Lane("websocket", "34", began), Lane("sse", "32", began)]
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=TIMEOUT))
        realtime = await stack.enter_async_context(Realtime(linger=0))
        await until_up(http)

        answer = await http.get("/api/realtime/pipeline/token", params={"runId": run_id})
        token = ClientSubscriptionToken(answer.raise_for_status().json()["key"], answer.json()["apiBaseUrl"])
        claims = token.read_claims_unverified()
        topics = ", ".join(topic.name for topic in claims.topics)
        lanes[0].say("minted", f"by GET /api/realtime/pipeline/token, for {topics}; valid for a minute")
        as_browser = realtime.subscribe(channel=channel, key=token.key, api_base_url=token.api_base_url)
        browser = await stack.enter_async_context(as_browser)
        lanes[0].say("open", "subscribed with that token, as useRealtime does in a browser")

        server = await stack.enter_async_context(realtime.subscribe(channel=channel))
        lanes[1].say("open", "subscribed from Python, and confirmed: nothing published now is lost")

        stream = http.stream("GET", "/api/realtime/pipeline/stream", params={"runId": run_id})
        events = (await stack.enter_async_context(stream)).raise_for_status()
        lanes[2].say("open", "GET /api/realtime/pipeline/stream, what EventSource reads")

        (await http.post("/api/runs", params={"runId": run_id})).raise_for_status()
        sources = (decoded(browser), decoded(server), read_events(events))
        await asyncio.wait_for(asyncio.gather(*map(follow, lanes, sources)), TIMEOUT)
    same = len({(lane.messages, "".join(lane.text)) for lane in lanes}) == 1
    verdict = "the same" if same else "NOT the same"
    print(f"\n  {lanes[0].messages} messages by each road, {verdict} on all three.", flush=True)
    return same


async def follow(lane: Lane, messages: AsyncGenerator[dict[str, Any], None]) -> None:
    async with contextlib.aclosing(messages):
        async for message in messages:
            if lane.take(message):
                return


async def decoded(messages: AsyncIterator[Message[Any]] | Any) -> AsyncGenerator[dict[str, Any], None]:
    async for message in messages:
        yield message.to_dict()


async def read_events(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """The least that reads our server-sent events: each is one `data:` line of JSON, the first says `ready`."""
    async for line in response.aiter_lines():
        if line.startswith("data: ") and (message := json.loads(line[6:]))["kind"] != "ready":
            yield message


async def until_up(http: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            await http.get("/")
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
