"""What a real server sent (tests/frames/) against what this one sends for the same input."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .client import DEADLINE, Client, receive

RECORDINGS = Path(__file__).parent.parent / "frames"
CHANNEL = "pipeline:abc123"
TOPICS = [(CHANNEL, name) for name in ("status", "tokens", "answer", "$stream")]
RUN_ID = "01JABCDEFGHJKMNPQRSTVWXYZ0"

INPUTS: list[tuple[str, str, dict[str, str]]] = [
    ("status", '{"message": "Starting", "step": "research"}', {}),
    (
        "status",
        '{"message": "\\u00dcn\\u00efc\\u00f6d\\u00e9 \\u2028 <b>&amp;</b> \\ud83d\\ude80\\nline two"}',
        {},
    ),
    ("tokens", '"just a string"', {}),
    ("tokens", "plain text, not JSON", {}),
    ("status", "42", {}),
    ("status", "null", {}),
    ("status", "[ ]", {}),
    ("status", "true", {}),
    ("status", '{"n": 12345678901234567890, "f": 1.0, "e": 1e400}', {}),
    ("status", '{ "a" : 1 , "b" : [1, 2] }', {}),
    ("status", '{"runId": "x"}', {"run_id": RUN_ID}),
    ("status", '{"m": 1}', {"metadata": '{"k": "v"}'}),
]
FOX = "🦊".encode()
STREAMS = [
    [b"The ", b"quick ", b"brown ", b"fox ", b"fox ", FOX],
    [b"split utf8: " + FOX[:2], FOX[2:] + b" done"],
]


def recorded(name: str) -> list[str]:
    return [json.loads(line) for line in (RECORDINGS / name).read_text(encoding="utf-8").splitlines()]


def comparable(frames: list[str]) -> list[str]:
    """The frames' text, with numbers in place of times and of ids of streams."""
    ids: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return match[1] + ids.setdefault(match[2], f"stream {len(ids)}") + match[3]

    created_at = re.compile(r'"created_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"')
    stream_id = re.compile(r'("kind":"(?:datastream-start|datastream-end)","data":"|"stream_id":")([0-9a-z]+)(")')
    return [stream_id.sub(numbered, created_at.sub('"created_at":"..."', frame)) for frame in frames]


async def test_the_same_input_gives_the_same_frames(client: Client) -> None:
    frames: list[str] = []
    async with client.listen(*TOPICS) as connection:

        async def paced(chunks: list[bytes]) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk
                await asyncio.wait_for(turn.acquire(), DEADLINE)

        for topic, body, query in INPUTS:
            await client.publish(CHANNEL, topic, body.encode(), **query)
            frames.append(await receive(connection))
        for chunks in STREAMS:
            turn = asyncio.Semaphore(0)
            sending: Any = client.publish(CHANNEL, "answer", paced(chunks), content_type="text/stream")
            publishing = asyncio.create_task(sending)
            frames.append(await receive(connection))
            for _ in chunks:
                frames.append(await receive(connection))
                turn.release()
            frames.append(await receive(connection))
            await publishing
        raw = "raw: bytes straight through\n\n"
        await client.http.post("/publish/tee", params={"channel": CHANNEL}, content=raw)
        frames.append(await receive(connection))
    assert comparable(frames) == comparable(recorded("pipeline.jsonl"))


async def test_the_same_closing_frame(client: Client) -> None:
    async with client.listen(*TOPICS) as connection:
        await client.server.begin_closing()
        assert comparable([await receive(connection)]) == comparable(recorded("closing.jsonl"))
