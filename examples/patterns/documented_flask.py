"""documented.py in Flask: `INNGEST_DEV=1 flask --app documented_flask run`."""

from __future__ import annotations

from flask import Flask, Response, abort, jsonify, request

from documented import Pipeline, get_realtime_token_sync, grant, may_view, realtime
from inngest_realtime_core import ClientSubscriptionToken, RealtimeError
from inngest_realtime_flask import realtime_blueprint, realtime_error_handler, subscription_token

app = Flask(__name__)
app.register_error_handler(RealtimeError, realtime_error_handler)  # a run id that cannot be one is a 422


# 1. The server action, called by a view of yours.
@app.post("/runs/<run_id>/token")
def server_action(run_id: str) -> Response:
    if not may_view(request, Pipeline(run_id=run_id)):
        abort(403)
    response = jsonify(get_realtime_token_sync(run_id).to_dict())
    response.headers["Cache-Control"] = "no-store"
    return response


# 2. The route: GET /api/realtime-token?runId=abc123. The decorator asks may_view.
@app.get("/api/realtime-token")
@subscription_token(realtime, grant)
def realtime_token(token: ClientSubscriptionToken) -> dict[str, str]:
    return token.to_dict()


# 3. The server function: its input is validated before it begins, to be a text here as there.
@app.get("/api/get-realtime-token")
def server_function() -> Response:
    run_id = request.args.get("runId")
    if not run_id:
        abort(422)
    return server_action(run_id)


# All that without a line of your own: GET or POST /api/realtime/pipeline/token?runId=abc123.
app.register_blueprint(realtime_blueprint(realtime, [grant]), url_prefix="/api/realtime")
