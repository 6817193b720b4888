"""Applications behind their frameworks' own CORS middleware, configured as `docs/cors.md` says."""

from __future__ import annotations

from typing import Any

from conformance.site import Pipeline, may_view
from inngest_realtime_core import Grant, Realtime

ORIGIN = "https://app.example.com"
PREFIX = "/api/realtime"

realtime = Realtime()
grants = [Grant(Pipeline, ["status"], authorize=may_view)]
HEADERS = ["Authorization", "Content-Type", "Last-Event-ID"]


def _with_middleware(app: Any) -> Any:
    from starlette.middleware.cors import CORSMiddleware

    app.add_middleware(
        CORSMiddleware,
        allow_origins=[ORIGIN],
        allow_credentials=True,
        allow_methods=["GET", "POST"],
        allow_headers=HEADERS,
    )
    return app


def stats() -> dict[str, Any]:
    """What the tests ask for until the server is up."""
    return {}


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    from inngest_realtime_starlette import realtime_routes

    routes = [
        Mount(PREFIX, routes=realtime_routes(realtime, grants)),
        Route("/stats", lambda request: JSONResponse(stats())),
    ]
    return _with_middleware(Starlette(routes=routes))


def fastapi() -> Any:
    from fastapi import FastAPI

    from inngest_realtime_fastapi import realtime_router

    app = FastAPI()
    app.include_router(realtime_router(realtime, grants), prefix=PREFIX)
    app.add_api_route("/stats", stats)
    return _with_middleware(app)


def _configure_django() -> None:
    import django
    from corsheaders.defaults import default_headers
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["corsheaders", "inngest_realtime_django"],
        MIDDLEWARE=["corsheaders.middleware.CorsMiddleware", "django.middleware.common.CommonMiddleware"],
        CORS_ALLOWED_ORIGINS=[ORIGIN],
        CORS_ALLOW_CREDENTIALS=True,
        CORS_ALLOW_HEADERS=[*default_headers, "last-event-id"],
        INNGEST_REALTIME={"REALTIME": "cors_sites.realtime", "GRANTS": grants},
        ROOT_URLCONF="cors_urls",
        SECRET_KEY="only for tests",
        USE_TZ=True,
    )
    django.setup()


def django_asgi() -> Any:
    _configure_django()
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


def django_wsgi() -> Any:
    _configure_django()
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def flask() -> Any:
    from flask import Flask
    from flask_cors import CORS

    from inngest_realtime_flask import realtime_blueprint

    app = Flask(__name__)
    CORS(app, origins=[ORIGIN], supports_credentials=True, allow_headers=HEADERS)
    app.register_blueprint(realtime_blueprint(realtime, grants), url_prefix=PREFIX)
    app.add_url_rule("/stats", view_func=stats)
    return app
