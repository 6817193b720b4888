"""A person in the loop: a function asks, waits, and goes on with the answer. With the Inngest dev server beside it:

    npx inngest-cli@latest dev -u http://127.0.0.1:8000/api/inngest
    cd examples/patterns && INNGEST_DEV=1 uvicorn approval:app

Needs `pip install "inngest-realtime[inngest,fastapi]" uvicorn`. approval_django.py is the same in Django.

Whoever decides need not have the page open when the question is asked: the page of a deployment asks for all that was
published so far (`rewind: "all"`, which the grant allows). The question stands for an hour, so that is how long this
process remembers; with several processes, `Realtime(client, replay=RedisReplay("redis://...", max_age=3600.0))`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

import inngest
import inngest.fast_api
from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, Replay, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router

client = inngest.Inngest(app_id="approvals")
realtime = Realtime(client, replay=Replay(max_age=3600.0))


class Question(BaseModel):
    id: str
    text: str


class Outcome(BaseModel):
    state: Literal["deployed", "refused", "expired"]


class Deployment(Channel, name="deployment:{deployment_id}"):
    deployment_id: UUID
    question = topic(Question)
    outcome = topic(Outcome)


@client.create_function(fn_id="deploy", trigger=inngest.TriggerEvent(event="deployment/requested"))
async def deploy(ctx: inngest.Context) -> str:
    deployment = Deployment(deployment_id=UUID(str(ctx.event.data["deploymentId"])))
    # A step: a question must not be asked again by each call of the function.
    question = await realtime.publish_step(
        ctx, "ask", deployment.question, Question(id=ctx.run_id, text="Deploy to production?")
    )
    answer = await ctx.step.wait_for_event(
        "answer",
        event="deployment/answered",
        if_exp=f"async.data.questionId == '{question.id}'",
        timeout=timedelta(hours=1),
    )
    if answer is None:
        outcome = Outcome(state="expired")
    else:
        outcome = Outcome(state="deployed" if answer.data["approved"] is True else "refused")
    await realtime.publish_step(ctx, "outcome", deployment.outcome, outcome)
    return outcome.state


app = FastAPI(title="Approvals")
inngest.fast_api.serve(app, client, [deploy])
# Your own rule instead of allow_anyone: who may see this deployment?
grants = [Grant(Deployment, authorize=allow_anyone, rewind="all")]
app.include_router(realtime_router(realtime, grants), prefix="/api/realtime")


@app.get("/", include_in_schema=False)
@app.get("/deployments/{deployment_id}", include_in_schema=False)
async def page(deployment_id: UUID | None = None) -> FileResponse:
    return FileResponse(Path(__file__).parent / "pages" / "approval.html")


@app.get("/style.css", include_in_schema=False)
async def style() -> FileResponse:
    return FileResponse(Path(__file__).parent.parent / "style.css")


@app.post("/deployments/{deployment_id}", status_code=202)
async def request_deployment(deployment_id: UUID) -> None:
    await client.send(inngest.Event(name="deployment/requested", data={"deploymentId": str(deployment_id)}))


class Answer(BaseModel):
    questionId: str
    approved: bool


@app.post("/deployments/{deployment_id}/answer", status_code=202)
async def take_answer(deployment_id: UUID, answer: Answer) -> None:
    """Check here that the user may answer: to see the question is another right than to decide it."""
    await client.send(inngest.Event(name="deployment/answered", data=answer.model_dump()))
