"""A response that begins when it is made: what came since the subscription began is nobody's."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from conformance import site
from conformance.apps.starlette import own_response, realtime
from conformance.wrong.adapter import Adapter, Endpoint
from inngest_realtime_starlette import RealtimeStreamingResponse


async def response(request: Request) -> Response:
    channel = site.Pipeline(run_id=request.path_params["run_id"])
    subscription = await realtime.subscribe(channel=channel, topics=["tokens"])
    await asyncio.sleep(1)
    later = await realtime.subscribe(channel=channel, topics=["tokens"])
    subscription.close()
    return RealtimeStreamingResponse(later)


class BeginsWithTheResponse(Adapter):
    def own(self, endpoint: Endpoint) -> Endpoint:
        return response if endpoint is own_response else endpoint


app = BeginsWithTheResponse().app()
