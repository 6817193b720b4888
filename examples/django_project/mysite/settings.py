"""As little of Django as the example needs. What belongs to Inngest Realtime is at the end."""

from __future__ import annotations

from pathlib import Path

BASE_DIR = Path(__file__).parent.parent
PAGE = BASE_DIR.parent / "page.html"
REACT = BASE_DIR.parent / "react" / "dist"

DEBUG = True
SECRET_KEY = "only for the example"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
USE_TZ = True

INSTALLED_APPS = [
    "inngest_realtime_django",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]

INNGEST_REALTIME = {
    "REALTIME": "mysite.realtime.realtime",
    "GRANTS": "mysite.realtime.grants",
}
