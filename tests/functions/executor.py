"""What the Inngest server does with a function: calls it over HTTP, step by step, keeps what steps return, retries."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

__all__ = ["Executor", "Run", "new_run_id"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_run_id() -> str:
    """A ULID."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


@dataclass
class Run:
    """One run of a function.

    Attributes:
        output: What the function returned; None while it has not, or failed.
        error: What ended the run: `{"name", "message", ...}`.
        steps: What each step returned, by the step's id in its hashed form.
        displayed: The same by the id that the dashboard shows; steps of one id in a list.
        requests: How many times the function was called.
    """

    id: str
    output: Any = None
    error: dict[str, Any] | None = None
    steps: dict[str, Any] = field(default_factory=dict)
    displayed: dict[str, list[Any]] = field(default_factory=dict)
    requests: int = 0


class Executor:
    """Runs functions that an application serves at `/api/inngest`, in the order in which the Inngest server does.

    That is a queue of calls for each run. A step is done in the call that comes upon it, and another call follows.
    Steps in parallel are planned by the call that comes upon them, done in a call of their own, and when all are done
    one call follows; from then on each step of the run is planned before it is done. A call whose step fails is
    repeated later, and what is ready goes first. (Inngest's `pkg/execution/executor`: HandleGeneratorResponse,
    handleGeneratorStep, handleStepError, maybeEnqueueDiscoveryStep; the SDK says that it is of request version 2.)

    Args:
        url: The application's address.
        attempts: How often a function or a step is tried in all.
        events: Asked for what a `wait_for_event` gets: a function of the event's name; None is a timeout.
        lost: Ids of steps whose first result is lost on its way to Inngest, so that they are run again.
        always_plans: Whether steps are planned for the rest of the run once some were in parallel; newer servers go
            back to doing them at once (maybeResetForceStepPlan).
    """

    def __init__(
        self,
        url: str,
        *,
        app_id: str = "shop",
        attempts: int = 4,
        events: Callable[[str], Mapping[str, Any] | None] = lambda _name: None,
        lost: Sequence[str] = (),
        always_plans: bool = True,
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._app_id = app_id
        self._attempts = attempts
        self._events = events
        self._lost = list(lost)
        self._always_plans = always_plans

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def run(self, fn_id: str, data: Mapping[str, Any] | None = None, *, run_id: str | None = None) -> Run:
        """Execute a function to its end."""
        run = Run(run_id or new_run_id())
        event = {"name": "test/event", "data": dict(data or {}), "id": secrets.token_hex(8), "ts": 0}
        self._execute(run, fn_id, event)
        return run

    def _execute(self, run: Run, fn_id: str, event: dict[str, Any]) -> None:
        ready: deque[tuple[str | None, int]] = deque([(None, 0)])  # the step to do, or None for what comes; the attempt
        delayed: deque[tuple[str | None, int]] = deque()
        planned: set[str] = set()
        pending: set[str] = set()
        parallel = False
        while ready or delayed:
            target, attempt = ready.popleft() if ready else delayed.popleft()
            response = self._call(run, fn_id, event, attempt, target, parallel)
            last = response.headers.get("x-inngest-no-retry") == "true" or attempt + 1 >= self._attempts
            if response.status_code == 200:
                run.output = response.json()
                return
            if response.status_code != 206:
                assert response.status_code == 500, response.text
                if last:
                    run.error = response.json()
                    return
                delayed.append((target, attempt + 1))
                continue
            assert response.headers["x-inngest-req-version"] == "2"
            steps = response.json()
            if len(steps) > 1:
                parallel = True
                pending |= {step["id"] for step in steps}
            for step in steps:
                if step["op"] == "StepPlanned":
                    if step["id"] not in planned:
                        planned.add(step["id"])
                        ready.append((step["id"], 0))
                elif step["displayName"] in self._lost:
                    self._lost.remove(step["displayName"])
                    delayed.append((target, attempt + 1))
                elif step["op"] == "StepError" and not last:
                    delayed.append((target, attempt + 1))
                else:
                    self._keep(run, step, event)
                    pending.discard(step["id"])
                    if not pending:
                        parallel = parallel and self._always_plans
                        ready.append((None, 0))
        raise AssertionError("nothing is left to call, and the function has not ended")

    def _call(
        self, run: Run, fn_id: str, event: dict[str, Any], attempt: int, target: str | None, parallel: bool
    ) -> httpx.Response:
        run.requests += 1
        context = {
            "attempt": attempt,
            "disable_immediate_execution": parallel,
            "max_attempts": self._attempts,
            "run_id": run.id,
            "stack": {"stack": [*run.steps], "current": len(run.steps)},
        }
        body = {"ctx": context, "event": event, "events": [event], "steps": run.steps, "use_api": False}
        query = {"fnId": f"{self._app_id}-{fn_id}", "stepId": target or "step"}
        return self._http.post("/api/inngest", params=query, json=body)

    def _keep(self, run: Run, step: dict[str, Any], event: dict[str, Any]) -> None:
        op, value = step["op"], None
        if op == "StepRun":
            value = {"data": step.get("data")}
        elif op in ("StepError", "StepFailed"):
            value = {"error": {"name": step["error"]["name"], "message": step["error"]["message"]}}
        elif op == "WaitForEvent":
            value = self._events(step["name"])
        elif op == "InvokeFunction":
            inner = Run(new_run_id())
            self._execute(inner, step["opts"]["function_id"].removeprefix(f"{self._app_id}-"), event)
            assert inner.error is None, inner.error
            value = {"data": inner.output}
        else:
            assert op == "Sleep", step
        run.steps[step["id"]] = value
        shown = value["data"] if op == "StepRun" and value is not None else value
        run.displayed.setdefault(step["displayName"], []).append(shown)
