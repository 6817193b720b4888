"""`path("api/realtime/", include("inngest_realtime_django.urls"))`.

The names are `inngest_realtime:token` and `inngest_realtime:stream`; both take the grant's name.
"""

from __future__ import annotations

from django.urls import path

from . import views

__all__ = ["app_name", "urlpatterns"]

app_name = "inngest_realtime"

urlpatterns = [
    path("<str:grant>/token", views.token, name="token"),
    path("<str:grant>/stream", views.stream, name="stream"),
]
