"""Live HTML with Django and htmx, a project in one file: with an Inngest dev server beside it, in this folder,
`INNGEST_DEV=1 uvicorn --lifespan off django_fragments:application`, or `gunicorn --threads 32 django_fragments:wsgi`.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import django
import report
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import include, path
from django.views.decorators.http import require_POST
from django.views.static import serve

from inngest_realtime_core import Grant, Realtime
from inngest_realtime_core.endpoints import template_fragments

HERE = Path(__file__).parent
realtime = Realtime(replay=report.HISTORY)
fragment = template_fragments(render_to_string, report.TEMPLATES)
grants = [Grant(report.Report, authorize=report.may_view, render=fragment, rewind="all", rewind_default="all")]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    INNGEST_REALTIME={"REALTIME": realtime, "GRANTS": grants},
    INSTALLED_APPS=["inngest_realtime_django"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for the example",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [HERE / "templates"]}],
)
django.setup()


def page(request: HttpRequest, version: str) -> HttpResponse:
    run_id = request.GET.get("run")
    if run_id is None:  # the address names the run: reload it, or open it in another tab
        return redirect(f"/{version}?run={uuid.uuid4().hex}")
    context = {"run_id": run_id, "regions": report.REGIONS, "csrf_token": get_token(request)}
    return render(request, f"{version}.html", context)


@require_POST
def start(request: HttpRequest, run_id: str) -> HttpResponse:
    report.start(realtime, run_id)
    return HttpResponse(status=204)


urlpatterns = [
    path("htmx2", page, {"version": "htmx2"}),
    path("htmx4", page, {"version": "htmx4"}),
    path("runs/<str:run_id>", start),
    path("style.css", serve, {"document_root": HERE.parent, "path": "style.css"}),
    path("api/realtime/", include("inngest_realtime_django.urls")),
]
application = get_asgi_application()
wsgi = get_wsgi_application()
