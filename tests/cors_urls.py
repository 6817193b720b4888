"""The URLs of the Django project in `cors_sites`."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import include, path


def stats(request: HttpRequest) -> JsonResponse:
    return JsonResponse({})


urlpatterns = [path("api/realtime/", include("inngest_realtime_django.urls")), path("stats", stats)]
