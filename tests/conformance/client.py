"""A client of the endpoints: plain HTTP, and event streams read as an `EventSource` reads them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from typing_extensions import Self

from conformance.site import PREFIX

TIMEOUT = 15.0  # seconds that anything awaited may take


@dataclass(frozen=True)
class Event:
    """An event of a stream, or a comment between two of them.

    Attributes:
        data: The lines of `data:`, joined; None when there is none.
        raw: The event's bytes, without the blank line.
    """

    data: str | None
    event: str | None
    id: str | None
    comment: bool
    retry: int | None
    raw: bytes

    @property
    def json(self) -> Any:
        assert self.data is not None
        return json.loads(self.data)


def parse(block: bytes) -> Event:
    fields: dict[str, list[str]] = {}
    for line in block.decode().split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    data = fields.get("data")
    return Event(
        data=None if data is None else "\n".join(data),
        event=fields.get("event", [None])[-1],
        id=fields.get("id", [None])[-1],
        comment="" in fields,
        retry=int(fields["retry"][-1]) if "retry" in fields else None,
        raw=block,
    )


class EventStream:
    """An open response, read block by block."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks = response.aiter_raw()
        self._buffer = b""

    async def next_block(self) -> Event:
        """The next event or comment.

        Raises:
            StopAsyncIteration: The stream has ended.
        """
        while True:
            end = b"\n" if self._buffer.startswith(b":") else b"\n\n"
            if end in self._buffer:
                block, self._buffer = self._buffer.split(end, 1)
                return parse(block)
            self._buffer += await asyncio.wait_for(anext(self._chunks), TIMEOUT)

    async def next_event(self) -> Event:
        """The next event that tells of messages: neither a comment nor the `ready` at the beginning."""
        # Heartbeats come without end: each block has its timeout, and so has what is waited for.
        return await asyncio.wait_for(self._next_event(), TIMEOUT)

    async def _next_event(self) -> Event:
        while True:
            block = await self.next_block()
            if block.data is not None and block.event != "ready":
                return block

    async def until_end(self) -> list[Event]:
        """All events and comments that are left; returns when the server ends the stream."""
        blocks: list[Event] = []
        with contextlib.suppress(StopAsyncIteration):
            while True:
                blocks.append(await self.next_block())
        return blocks


class Client:
    """Requests to one server."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(
            base_url=url, timeout=TIMEOUT, trust_env=False, limits=httpx.Limits(max_connections=None)
        )

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.http.__aexit__(*exception)

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None, **parameters: Any) -> httpx.Response:
        """`GET /api/realtime/{path}`."""
        request = self.http.get(f"{PREFIX}/{path}", params=parameters, headers=headers)
        return await asyncio.wait_for(request, TIMEOUT)  # a stream where none is expected would never end

    async def post(self, path: str, body: Any = None, *, content: bytes | None = None, **parameters: Any) -> Any:
        """`POST /api/realtime/{path}` with a JSON body, or with `content` as it is."""
        return await self.http.post(f"{PREFIX}/{path}", params=parameters, json=body, content=content)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, **parameters: Any
    ) -> AsyncIterator[EventStream]:
        """`GET /api/realtime/{path}` as an event stream; leaving the block closes the connection."""
        async with self.http.stream("GET", f"{PREFIX}/{path}", params=parameters, headers=headers) as response:
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code}: {(await response.aread()).decode()}")
            yield EventStream(response)

    async def stats(self) -> dict[str, Any]:
        """What the server's process holds."""
        response = await self.http.get("/stats")
        return response.json()

    async def until_stats(self, condition: Callable[[dict[str, Any]], bool], *, timeout: float = TIMEOUT) -> float:
        """Waits until the stats fulfil the condition, and returns the seconds that it took."""
        began = time.monotonic()
        while not condition(stats := await self.stats()):
            if time.monotonic() > began + timeout:
                raise AssertionError(f"The condition did not hold within {timeout} s. The last stats were {stats}.")
            await asyncio.sleep(0.01)
        return time.monotonic() - began
