"""Tests as users of unittest write them: with pytest's fixtures, and with nothing but the server."""

from __future__ import annotations

import unittest

import pytest
from application import Pipeline, realtime, run_pipeline

from inngest_realtime_core import Realtime
from inngest_realtime_devserver import DevServer
from inngest_realtime_devserver.testing import receive

CHANNEL = Pipeline(run_id="r1")


class WithFixtures(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def use(self, inngest_realtime_server: DevServer, inngest_realtime: Realtime) -> None:
        self.server = inngest_realtime_server
        self.realtime = inngest_realtime

    def test_first(self) -> None:
        with realtime.override(api_base_url=self.server.url):
            run_pipeline("r1")
        assert len(self.server.published(CHANNEL)) == 1

    def test_second(self) -> None:
        assert self.server.published() == []
        self.realtime.publish_sync(CHANNEL.tokens, "x")
        assert [message.data for message in self.server.published(CHANNEL)] == ["x"]


class WithoutFixtures(unittest.IsolatedAsyncioTestCase):
    server: DevServer

    @classmethod
    def setUpClass(cls) -> None:
        running = DevServer().in_thread()
        cls.server = running.__enter__()
        cls.addClassCleanup(running.__exit__, None, None, None)

    async def test_messages(self) -> None:
        with realtime.override(api_base_url=self.server.url):
            async with realtime.subscribe(channel=CHANNEL) as stream:
                await realtime.publish(CHANNEL.tokens, "x")
                assert [message.data for message in await receive(stream)] == ["x"]


if __name__ == "__main__":
    unittest.main()
