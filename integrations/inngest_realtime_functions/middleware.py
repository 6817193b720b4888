"""The middleware of `inngest.Inngest` that tells the core which run is being executed."""

from __future__ import annotations

from typing import Any

import inngest

from inngest_realtime_core._api.ids import CurrentRun, current_run, usable_run_id
from inngest_realtime_core._api.steps import is_mistake

__all__ = ["RealtimeMiddleware"]


class RealtimeMiddleware(inngest.MiddlewareSync):
    """For `inngest.Inngest(..., middleware=[RealtimeMiddleware])`, or for one function.

    `publish()`, `publish_stream()` and `batch()` that a function calls carry the id of its run, in its steps as well
    and in what it calls; a `run_id=` that is given wins. A thread that a function starts by itself has no run, unless
    it is started in a copy of the function's context (`asyncio.to_thread` does that).

    A function that fails because what it published is not acceptable (`PublishError`, `ChannelError`, `TopicError`,
    `ConfigurationError`) is not retried: it would fail again.
    """

    # Not inngest.Middleware: with an async one in the client, send_sync() and functions that are not async fail.

    def __init__(self, client: inngest.Inngest, raw_request: object) -> None:
        super().__init__(client, raw_request)
        self._run: CurrentRun | None = None
        self._outer: CurrentRun | None = None

    def transform_input(
        self,
        ctx: inngest.Context | inngest.ContextSync,
        function: inngest.Function[Any],
        steps: inngest.StepMemos,
    ) -> None:
        """Called by Inngest before the function: from here on its run is the current one."""
        self._outer = current_run.get()
        self._run = CurrentRun(usable_run_id(ctx.run_id), ctx)
        current_run.set(self._run)

    def transform_output(self, result: inngest.TransformOutputResult) -> None:
        """Called by Inngest with what the function or step returned or raised."""
        error = result.error
        if error is not None and is_mistake(error):
            result.error = inngest.NonRetriableError(f"{type(error).__name__}: {error}")
            result.error.__cause__ = error

    def before_response(self) -> None:
        """Called by Inngest at the end. The thread that executed the function may go on to do something else."""
        # Unless another one of this class, of the client or the function, has done so.
        current = current_run.get()
        if current is not None and self._run is not None and current.shares_execution(self._run):
            current_run.set(self._outer)
