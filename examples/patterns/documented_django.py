"""documented.py in Django, in one file: `INNGEST_DEV=1 python documented_django.py runserver`."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from documented import Pipeline, get_realtime_token_sync, grant, may_view, realtime
from inngest_realtime_core import ClientSubscriptionToken
from inngest_realtime_django import subscription_token

settings.configure(
    DEBUG=True,
    SECRET_KEY="of this example only",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["inngest_realtime_django"],
    # With it a run id that cannot be one is a 422.
    MIDDLEWARE=["inngest_realtime_django.middleware.RealtimeErrorMiddleware"],
    INNGEST_REALTIME={"REALTIME": realtime, "GRANTS": [grant]},
)


# 1. The server action, called by a view of yours.
@csrf_exempt  # in your project the page sends the token of Django's protection
@require_POST
def server_action(request: HttpRequest, run_id: str) -> HttpResponse:
    return token_for(request, run_id)


def token_for(request: HttpRequest, run_id: str) -> HttpResponse:
    if not may_view(request, Pipeline(run_id=run_id)):
        raise PermissionDenied
    token = get_realtime_token_sync(run_id)
    return JsonResponse(token.to_dict(), headers={"Cache-Control": "no-store"})


# 2. The route: GET /api/realtime-token?runId=abc123. The decorator asks may_view.
@require_GET
@subscription_token(realtime, grant)
def realtime_token(request: HttpRequest, token: ClientSubscriptionToken) -> HttpResponse:
    return JsonResponse(token.to_dict())


# 3. The server function: its input is validated before it begins, to be a text here as there.
@require_GET
def server_function(request: HttpRequest) -> HttpResponse:
    run_id = request.GET.get("runId")
    if not run_id:
        return JsonResponse({"error": "runId is missing."}, status=422)
    return token_for(request, run_id)


urlpatterns = [
    path("runs/<str:run_id>/token", server_action),
    path("api/realtime-token", realtime_token),
    path("api/get-realtime-token", server_function),
    # All that without a line of your own: GET or POST /api/realtime/pipeline/token?runId=abc123.
    path("api/realtime/", include("inngest_realtime_django.urls")),
]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
