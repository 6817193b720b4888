"""A callable that mints a token, as a Next.js server action does.

    // app/actions.ts, the documented TypeScript form
    export async function fetchToken(runId: string) {
      return getClientSubscriptionToken(inngest, { channel: `pipeline:${runId}`, topics: ["status"] });
    }

In Python it is a function like any other: call it from a view, a template tag, a GraphQL resolver, an RPC method.
"""

from __future__ import annotations

import inngest

from inngest_realtime_core import Channel, get_client_subscription_token, get_client_subscription_token_sync, topic

client = inngest.Inngest(app_id="patterns")


class Pipeline(Channel, name="pipeline:{run_id}"):
    run_id: str
    status = topic(dict[str, str])


async def fetch_token(run_id: str) -> dict[str, str]:
    """Check that the user may see the run before you call it: whoever has the token may listen for a minute."""
    token = await get_client_subscription_token(client, channel=Pipeline(run_id=run_id), topics=["status"])
    return token.to_dict()  # {"key": "...", "apiBaseUrl": "..."}, what useRealtime takes


def fetch_token_sync(run_id: str) -> dict[str, str]:
    """The same for threads: Flask, Django views, scripts."""
    token = get_client_subscription_token_sync(client, channel=Pipeline(run_id=run_id), topics=["status"])
    return token.to_dict()
