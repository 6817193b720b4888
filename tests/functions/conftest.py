"""An embedded Inngest, a `Realtime` on it, a client with the middleware, and what arrived."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import inngest
import pytest

from inngest_realtime_core import Message, Realtime
from inngest_realtime_devserver.server import DevServer
from inngest_realtime_functions import RealtimeMiddleware
from talk import Pipeline

from .executor import Executor, Run
from .serving import SERVERS


@pytest.fixture
def dev() -> Iterator[DevServer]:
    with DevServer().in_thread() as server:
        yield server


@pytest.fixture
def client(dev: DevServer) -> inngest.Inngest:
    return inngest.Inngest(
        app_id="shop",
        api_base_url=dev.url,
        event_api_base_url=dev.url,
        is_production=False,
        logger=logging.getLogger("tests.functions"),
        middleware=[RealtimeMiddleware],
    )


@pytest.fixture
def rt(client: inngest.Inngest) -> Iterator[Realtime]:
    realtime = Realtime(client, linger=0)
    yield realtime
    realtime.close_sync()


THE_END = "the end"


class Stage:
    """Serves functions and executes one, while somebody subscribes.

    Attributes:
        messages: What the subscriber got from the last run, in order.
        published: How many messages Inngest got in the last run.
    """

    def __init__(self, dev: DevServer, rt: Realtime, client: inngest.Inngest, stack: ExitStack) -> None:
        self._dev, self._rt, self._client, self._stack = dev, rt, client, stack
        self.messages: list[Message[Any]] = []
        self.published = 0

    def play(
        self,
        channel: Pipeline,
        functions: list[inngest.Function[Any]],
        *,
        server: str = "fastapi",
        data: dict[str, Any] | None = None,
        run_id: str | None = None,
        topics: list[str] | None = None,
        **options: Any,
    ) -> Run:
        """Execute the first of `functions`."""
        url = self._stack.enter_context(SERVERS[server](self._client, functions))
        before = self._dev.stats().publishes
        topics = list(topics or channel.topics())
        with (
            self._rt.subscribe_sync(channel=channel.name, topics=topics) as stream,
            Executor(url, **options) as executor,
        ):
            run = executor.run(functions[0].local_id, data, run_id=run_id)
            self.published = self._dev.stats().publishes - before
            self.messages = []
            for topic in topics:  # order is kept within a topic
                self._dev.publish_sync(channel.name, topic, THE_END)
            while topics:
                message = stream.receive(timeout=5)
                assert message is not None
                if message.data == THE_END:
                    topics.remove(message.topic)
                else:
                    self.messages.append(message)
        return run


@pytest.fixture
def stage(dev: DevServer, rt: Realtime, client: inngest.Inngest) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(dev, rt, client, stack)
