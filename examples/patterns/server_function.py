"""A server function with a validated input, as TanStack Start's `createServerFn().validator(...)` has it.

// TanStack Start
export const getToken = createServerFn({ method: "POST" })
  .validator(z.object({ runId: z.string().uuid() }))
  .handler(async ({ data }) => {
    return getClientSubscriptionToken(inngest, { channel: `pipeline:${data.runId}`, topics: ["status"] });
  });
"""

from __future__ import annotations

from uuid import UUID

import inngest
from fastapi import FastAPI
from pydantic import BaseModel

from inngest_realtime_core import Channel, Realtime, topic
from inngest_realtime_fastapi import Grant, allow_anyone, realtime_router

client = inngest.Inngest(app_id="patterns")
realtime = Realtime(client)
app = FastAPI()


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: UUID
    status = topic(dict[str, str])


class TokenInput(BaseModel):
    runId: UUID


class Token(BaseModel):
    key: str
    apiBaseUrl: str


@app.post("/api/get-token")
async def get_token(data: TokenInput) -> Token:
    """FastAPI validates the input; the answer has a schema in OpenAPI."""
    token = await realtime.get_client_subscription_token(channel=Pipeline(run_id=data.runId), topics=["status"])
    return Token.model_validate(token.to_dict())


# The same without a line of your own: POST /api/realtime/pipeline/token with {"runId": "..."}.
app.include_router(realtime_router(realtime, [Grant(Pipeline, authorize=allow_anyone)]), prefix="/api/realtime")
