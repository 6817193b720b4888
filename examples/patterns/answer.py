"""The answer of a language model, token by token and then as a whole. Run it with the Inngest dev server beside it:

    npx inngest-cli@latest dev -u http://127.0.0.1:8000/api/inngest
    cd examples/patterns && INNGEST_DEV=1 uvicorn answer:app

Needs `pip install "inngest-realtime[inngest,fastapi]" uvicorn`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import inngest
import inngest.fast_api
from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_fastapi import realtime_router
from inngest_realtime_functions import RealtimeMiddleware

client = inngest.Inngest(app_id="answers", middleware=[RealtimeMiddleware])
realtime = Realtime(client)


class Answer(BaseModel):
    text: str


class Chat(Channel, name="chat:{question_id}"):
    question_id: UUID
    tokens = topic(str)
    answer = topic(Answer)


@client.create_function(fn_id="answer", trigger=inngest.TriggerEvent(event="question/asked"))
async def answer(ctx: inngest.Context) -> str:
    chat = Chat(question_id=UUID(str(ctx.event.data["questionId"])))
    question = str(ctx.event.data["question"])

    async def generate() -> str:
        text = ""
        async with realtime.batch(chat.tokens) as tokens:  # one message for many tokens: Inngest counts messages
            async for token in model(question):
                text += token
                await tokens.send(token)
        return text

    text = await ctx.step.run("generate", generate)
    # An attempt that fails has sent its part of the tokens, and the next one sends them again. The whole sets it right.
    await realtime.publish_step(ctx, "answer", chat.answer, Answer(text=text))
    return text


async def model(question: str) -> AsyncIterator[str]:
    """Stands in for the stream of a language model."""
    for word in f"You asked: {question} The grid had a calm week.".split(" "):
        yield f"{word} "


class Asked(BaseModel):
    questionId: UUID
    question: str


app = FastAPI(title="Answers")
inngest.fast_api.serve(app, client, [answer])
# Your own rule instead of allow_anyone: whose question is it?
app.include_router(realtime_router(realtime, [Grant(Chat, authorize=allow_anyone)]), prefix="/api/realtime")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).parent / "pages" / "answer.html")


@app.get("/style.css", include_in_schema=False)
async def style() -> FileResponse:
    return FileResponse(Path(__file__).parent.parent / "style.css")


@app.post("/questions", status_code=202)
async def ask(asked: Asked) -> Asked:
    """The page makes the id and subscribes before it asks, so that it misses no token."""
    await client.send(inngest.Event(name="question/asked", data=asked.model_dump(mode="json")))
    return asked
