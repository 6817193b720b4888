from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.urls import include, path

from inngest_realtime_django import views as realtime_views

from . import views

urlpatterns = [
    path("api/realtime/", include("inngest_realtime_django.urls")),
    path("members/<str:grant>/token", login_required(realtime_views.token)),
    path("login/<str:username>", views.log_in),
    path("own", views.own),
    path("rest/<str:username>", views.rest),
    path("logout", views.log_out),
    path("wrong-face", views.wrong_face),
    path("stats", views.stats),
]
