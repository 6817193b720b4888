"""Tokens for requests that have been authorized: not while Inngest fails, and no longer than the process runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from .._api.client_token import ClientSubscriptionToken
from .._concurrency.background import run_sync
from .._concurrency.tasks import end_tasks
from ..errors import RealtimeError, ShuttingDownError
from ..realtime import Realtime
from .errors import EndpointError
from .limits import CircuitBreaker, TokenGate
from .selection import Selection

_T = TypeVar("_T")

_MAX_TOKENS: Final = 1_000  # requests for tokens under way in a process
_MAX_THREADS: Final = 8  # of them where each holds a thread of the server
_PATIENCE: Final = 1.0  # seconds that twice as many wait for their turn there
_LOOK: Final = 0.1  # seconds between two looks whether the process is to stop


class TokenIssuer:
    """Asks Inngest for tokens.

    A server that is to stop waits for its open requests: so one that waits for Inngest ends then.
    """

    def __init__(self, realtime: Realtime) -> None:
        self._realtime = realtime
        self._circuit = CircuitBreaker()
        self._threads = TokenGate(_MAX_THREADS, patience=_PATIENCE)
        self._gate = TokenGate(_MAX_TOKENS)

    async def issue(self, selection: Selection) -> ClientSubscriptionToken:
        """Returns a token for the channel and the topics.

        Raises:
            EndpointError: There is none.
        """
        try:
            with self._circuit.entered(), self._gate.entered():
                token = self._realtime.get_client_subscription_token(channel=selection.channel, topics=selection.topics)
                return await until_shutdown(self._realtime, token)
        except RealtimeError as error:
            raise EndpointError.of(error) from error

    def issue_sync(self, selection: Selection) -> ClientSubscriptionToken:
        """The sync twin of `issue`; so many at once at most, because each holds a thread."""
        with self._threads.entered():
            self._realtime.install_signal_handlers()
            return run_sync(lambda: self.issue(selection))


async def until_shutdown(realtime: Realtime, work: Awaitable[_T]) -> _T:
    """Awaits what a server that is to stop would wait for, which ends then.

    Raises:
        ShuttingDownError: The process is shutting down.
    """
    realtime.install_signal_handlers()
    request = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({request}, timeout=_LOOK))[0]:
            if realtime.is_shutting_down:
                raise ShuttingDownError("The process is shutting down, so no request is waited for any longer.")
        return request.result()
    finally:
        await end_tasks([request])
