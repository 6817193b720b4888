"""approval.py in Django, with functions that are not async, in one file. Run it with the Inngest dev server beside it:

    npx inngest-cli@latest dev -u http://127.0.0.1:8000/api/inngest
    cd examples/patterns && INNGEST_DEV=1 python approval_django.py runserver

Needs `pip install "inngest-realtime[inngest,django]"`.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

import inngest
import inngest.django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST
from django.views.static import serve
from pydantic import BaseModel

from inngest_realtime_core import Channel, Grant, Realtime, Replay, allow_anyone, topic

client = inngest.Inngest(app_id="approvals")
realtime = Realtime(client, replay=Replay(max_age=3600.0))  # as long as the question stands


class Question(BaseModel):
    id: str
    text: str


class Outcome(BaseModel):
    state: Literal["deployed", "refused", "expired"]


class Deployment(Channel, name="deployment:{deployment_id}"):
    deployment_id: UUID
    question = topic(Question)
    outcome = topic(Outcome)


settings.configure(
    DEBUG=True,
    SECRET_KEY="of this example only",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["inngest_realtime_django"],
    # Your own rule instead of allow_anyone: who may see this deployment?
    INNGEST_REALTIME={"REALTIME": realtime, "GRANTS": [Grant(Deployment, authorize=allow_anyone, rewind="all")]},
)


@client.create_function(fn_id="deploy", trigger=inngest.TriggerEvent(event="deployment/requested"))
def deploy(ctx: inngest.ContextSync) -> str:
    deployment = Deployment(deployment_id=UUID(str(ctx.event.data["deploymentId"])))
    question = realtime.publish_step_sync(
        ctx, "ask", deployment.question, Question(id=ctx.run_id, text="Deploy to production?")
    )
    answer = ctx.step.wait_for_event(
        "answer",
        event="deployment/answered",
        if_exp=f"async.data.questionId == '{question.id}'",
        timeout=timedelta(hours=1),
    )
    if answer is None:
        outcome = Outcome(state="expired")
    else:
        outcome = Outcome(state="deployed" if answer.data["approved"] is True else "refused")
    realtime.publish_step_sync(ctx, "outcome", deployment.outcome, outcome)
    return outcome.state


def page(request: HttpRequest) -> FileResponse:
    return FileResponse((Path(__file__).parent / "pages" / "approval.html").open("rb"))


@csrf_exempt  # in your project the page sends the token of Django's protection
@require_http_methods(["GET", "POST"])
def deployment(request: HttpRequest, deployment_id: UUID) -> HttpResponse | FileResponse:
    if request.method == "GET":
        return page(request)
    client.send_sync(inngest.Event(name="deployment/requested", data={"deploymentId": str(deployment_id)}))
    return HttpResponse(status=202)


@csrf_exempt
@require_POST
def take_answer(request: HttpRequest, deployment_id: UUID) -> HttpResponse:
    """Check here that the user may answer: to see the question is another right than to decide it."""
    answer = json.loads(request.body)
    data: dict[str, inngest.JSON] = {"questionId": str(answer["questionId"]), "approved": answer["approved"] is True}
    client.send_sync(inngest.Event(name="deployment/answered", data=data))
    return HttpResponse(status=202)


urlpatterns = [
    path("", page),
    path("style.css", serve, {"document_root": Path(__file__).parent.parent, "path": "style.css"}),
    path("deployments/<uuid:deployment_id>", deployment),
    path("deployments/<uuid:deployment_id>/answer", take_answer),
    path("api/realtime/", include("inngest_realtime_django.urls")),
    inngest.django.serve(client, [deploy]),
]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
