from __future__ import annotations

import django
from corsheaders.defaults import default_headers
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from browser import site
from inngest_realtime_core import Realtime

realtime = Realtime()
settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["corsheaders", "inngest_realtime_django"],
    MIDDLEWARE=["corsheaders.middleware.CorsMiddleware"],
    CORS_ALLOWED_ORIGINS=[site.OTHER_ORIGIN],
    CORS_ALLOW_CREDENTIALS=True,
    CORS_ALLOW_HEADERS=[*default_headers, *map(str.lower, site.HEADERS)],
    INNGEST_REALTIME={
        "REALTIME": "browser.apps.django.realtime",
        "GRANTS": "browser.site.GRANTS",
        "HEARTBEAT": site.HEARTBEAT,
        "MAX_STREAMS": 48,
    },
    ROOT_URLCONF="browser.apps.django",
    SECRET_KEY="only for tests",
    USE_TZ=True,
)
django.setup(set_prefix=False)


def stats(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"streams": realtime.stats().channels})


urlpatterns = [path("api/realtime/", include("inngest_realtime_django.urls")), path("stats", stats)]
asgi = get_asgi_application()
wsgi = get_wsgi_application()
