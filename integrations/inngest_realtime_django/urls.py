"""`path("api/realtime/", include("inngest_realtime_django.urls"))`.

The names are `inngest_realtime:token` and `inngest_realtime:stream`, which take the grant's name, and
`inngest_realtime:client`.
"""

from __future__ import annotations

from django.urls import path

from . import views

__all__ = ["app_name", "urlpatterns"]

app_name = "inngest_realtime"

urlpatterns = [
    path("client.js", views.client, name="client"),
    path("<str:grant>/token", views.token, name="token"),
    path("<str:grant>/stream", views.stream, name="stream"),
]
