from __future__ import annotations

from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.page),
    path("api/runs", views.runs),
    path("api/realtime/", include("inngest_realtime_django.urls")),
]
