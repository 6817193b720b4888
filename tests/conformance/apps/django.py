"""The suite's Django project, in one module: settings, URLs, and both of its applications."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path
from django.utils.functional import SimpleLazyObject

from conformance import site
from inngest_realtime_core import ClientSubscriptionToken, Subscription, SyncSubscription

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase


from inngest_realtime_django import RealtimeStreamingResponse, subscription_stream, subscription_token


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


class UserMiddleware:
    """As `AuthenticationMiddleware`, without a database."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = SimpleLazyObject(lambda: request.headers.get("x-user"))
        return self.get_response(request)


def user(request: HttpRequest) -> str | None:
    return None if not request.user else str(request.user)


realtime = site.new_realtime()
settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["inngest_realtime_django"],
    INNGEST_REALTIME={
        "REALTIME": "conformance.apps.django.realtime",
        "GRANTS": site.grants(HttpError, user),
        **{name.upper(): value for name, value in site.options().items()},
    },
    MIDDLEWARE=[
        "conformance.apps.django.UserMiddleware",
        "conformance.apps.django.HttpErrorMiddleware",
        "inngest_realtime_django.middleware.RealtimeErrorMiddleware",
    ],
    ROOT_URLCONF="conformance.apps.django",
    SECRET_KEY="only for tests",
    USE_TZ=True,
)
django.setup()


def stats(request: HttpRequest) -> HttpResponse:
    return JsonResponse(site.stats(realtime))


@subscription_token(realtime, site.PIPELINE)
async def own_token(request: HttpRequest, run_id: str, token: ClientSubscriptionToken) -> HttpResponse:
    return JsonResponse(token.to_dict())


@subscription_stream(realtime, site.HISTORY)
def own_stream(request: HttpRequest, run_id: str, stream: Any) -> HttpResponseBase:
    return RealtimeStreamingResponse(request, stream, send_timeout=site.send_timeout())


@subscription_stream(realtime, site.HISTORY)
def own_iterated(request: HttpRequest, run_id: str, stream: Subscription | SyncSubscription) -> HttpResponseBase:
    events = site.iterated(stream) if isinstance(stream, Subscription) else site.iterated_sync(stream)
    return StreamingHttpResponse(events, content_type="text/event-stream")


@subscription_stream(realtime, site.HISTORY)
async def own_rendered(request: HttpRequest, run_id: str, stream: Any) -> HttpResponseBase:
    return RealtimeStreamingResponse(request, stream, render=site.fragment)


@subscription_token(realtime, site.PIPELINE)
async def other_token(token: ClientSubscriptionToken, request: HttpRequest, run_id: str) -> HttpResponse:
    return JsonResponse(token.to_dict())


@subscription_stream(realtime, site.HISTORY)
async def other_stream(request: HttpRequest, run_id: str, stream: Any) -> HttpResponseBase:
    return RealtimeStreamingResponse(request, stream)


def own_response(request: HttpRequest, run_id: str) -> HttpResponseBase:
    pending = realtime.subscribe(channel=site.Pipeline(run_id=run_id), topics=["tokens"])
    response = RealtimeStreamingResponse(request, pending)
    time.sleep(1)
    return response


def own_error(request: HttpRequest, run_id: str) -> HttpResponse:
    site.Pipeline(run_id="a:b")
    raise AssertionError


urlpatterns = [
    path("own/<str:run_id>/token", own_token),
    path("own/<str:run_id>/stream", own_stream),
    path("own/<str:run_id>/iterated", own_iterated),
    path("own/<str:run_id>/rendered", own_rendered),
    path("own/<str:run_id>/other/token", other_token),
    path("own/<str:run_id>/other/stream", other_stream),
    path("own/<str:run_id>/response", own_response),
    path("own/<str:run_id>/error", own_error),
    path(f"{site.PREFIX.strip('/')}/", include("inngest_realtime_django.urls")),
    path("stats", stats),
]
asgi = get_asgi_application()
wsgi = get_wsgi_application()
