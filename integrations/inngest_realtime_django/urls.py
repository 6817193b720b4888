"""`path("api/realtime/", include("inngest_realtime_django.urls"))`.

The names are `inngest_realtime:token` and `inngest_realtime:stream`, which take the grant's name, and
`inngest_realtime:client`.
"""

from __future__ import annotations

from django.urls import URLPattern, path

from . import views
from .checks import CheckedPattern

__all__ = ["app_name", "urlpatterns"]

app_name = "inngest_realtime"

_token = path("<str:grant>/token", views.token, name="token")

urlpatterns: list[URLPattern] = [
    path("client.js", views.client, name="client"),
    CheckedPattern(_token.pattern, _token.callback, _token.default_args, _token.name),
    path("<str:grant>/stream", views.stream, name="stream"),
]
