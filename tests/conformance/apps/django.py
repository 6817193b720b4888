"""The suite's Django project, in one module: settings, URLs, and both of its applications."""

from __future__ import annotations

from collections.abc import Callable

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from conformance import site
from inngest_realtime_core.realtime import Realtime


class HttpError(Exception):
    """A project's own exception: Django has none for any status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HttpErrorMiddleware:
    """What makes a response of it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return HttpResponse(status=exception.status) if isinstance(exception, HttpError) else None


realtime = Realtime()
options = site.options()
settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["inngest_realtime_django"],
    INNGEST_REALTIME={
        "REALTIME": "conformance.apps.django.realtime",
        "GRANTS": site.grants(HttpError),
        "HEARTBEAT": options["heartbeat"],
        "MAX_STREAMS": options["max_streams"],
    },
    MIDDLEWARE=["conformance.apps.django.HttpErrorMiddleware"],
    ROOT_URLCONF="conformance.apps.django",
    SECRET_KEY="only for tests",
    USE_TZ=True,
)
django.setup()


def stats(request: HttpRequest) -> HttpResponse:
    return JsonResponse(site.stats(realtime))


urlpatterns = [
    path(f"{site.PREFIX.strip('/')}/", include("inngest_realtime_django.urls")),
    path("stats", stats),
]
asgi = get_asgi_application()
wsgi = get_wsgi_application()
