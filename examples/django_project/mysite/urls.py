from __future__ import annotations

from django.conf import settings
from django.urls import include, path
from django.views.static import serve

from . import views

urlpatterns = [
    path("", views.page),
    path("style.css", serve, {"document_root": settings.PAGE.parent, "path": "style.css"}),
    # `npm install && npm run build` in react/ makes it; the other pages need no build.
    path("react/", serve, {"document_root": settings.REACT, "path": "index.html"}),
    path("react/<path:path>", serve, {"document_root": settings.REACT}),
    path("api/runs", views.runs),
    path("api/realtime/", include("inngest_realtime_django.urls")),
]
