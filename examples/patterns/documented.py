"""The three ways in which Inngest's documentation hands out tokens, and what they share here.

https://www.inngest.com/docs/reference/typescript/v4/realtime/subscribing has, each time for
`{ channel: pipelineChannel({ runId }), topics: ["status", "tokens"] }`:

1. Next.js, a server action: `getRealtimeToken(runId)`, which returns the token.
2. Express, a route: `app.get("/api/realtime-token", ...)`, with `req.query.runId` and `res.json(token)`.
3. TanStack Start, a server function with a validated input:
   `createServerFn({ method: "GET" }).validator((runId: string) => runId).handler(...)`.

documented_fastapi.py, documented_starlette.py, documented_django.py and documented_flask.py have all three, in this
order. The documentation leaves it to its reader to ask who the user is; here `may_view` does.

The first is `get_realtime_token`: a function like any other, to be called by a view, a template tag, a GraphQL
resolver, an RPC method. Whoever calls it has asked `may_view`.
"""

from __future__ import annotations

from typing import Any

import inngest
from pydantic import BaseModel

from inngest_realtime_core import (
    Channel,
    ClientSubscriptionToken,
    Grant,
    Realtime,
    get_client_subscription_token,
    get_client_subscription_token_sync,
    topic,
)

client = inngest.Inngest(app_id="pipeline")
realtime = Realtime(client)


class Status(BaseModel):
    message: str
    step: str | None = None


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(Status)
    tokens = topic(str)


def may_view(request: Any, pipeline: Pipeline) -> bool:
    """Your rule: does the request's user own the run? Here a header says who the user is."""
    user: str | None = request.headers.get("x-user")
    return user == "ada"


grant = Grant(Pipeline, topics=[Pipeline.status, Pipeline.tokens], authorize=may_view)


async def get_realtime_token(run_id: str) -> ClientSubscriptionToken:
    return await get_client_subscription_token(client, channel=Pipeline(run_id=run_id), topics=["status", "tokens"])


def get_realtime_token_sync(run_id: str) -> ClientSubscriptionToken:
    """The same where nothing is async."""
    return get_client_subscription_token_sync(client, channel=Pipeline(run_id=run_id), topics=["status", "tokens"])
