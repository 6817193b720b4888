"""A route that mints a token, as the documented Express one does: `GET /api/realtime-token?runId=abc123`.

// Express
app.get("/api/realtime-token", async (req, res) => {
  const channel = `pipeline:${req.query.runId}`;
  res.json(await getClientSubscriptionToken(inngest, { channel, topics: ["status"] }));
});
"""

from __future__ import annotations

import inngest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from inngest_realtime_core import Channel, ChannelError, InngestError, Realtime, topic

client = inngest.Inngest(app_id="patterns")
realtime = Realtime(client)


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(dict[str, str])


async def realtime_token(request: Request) -> JSONResponse:
    # Your session's check belongs here. (A Grant has it built in, and answers the errors below by itself.)
    try:
        channel = Pipeline(run_id=request.query_params.get("runId", ""))
        token = await realtime.get_client_subscription_token(channel=channel, topics=["status"])
    except ChannelError as error:
        return JSONResponse({"error": str(error)}, status_code=422)
    except InngestError:
        return JSONResponse({"error": "Inngest did not give a token."}, status_code=502)
    return JSONResponse(token.to_dict(), headers={"Cache-Control": "no-store"})


app = Starlette(routes=[Route("/api/realtime-token", realtime_token)])
