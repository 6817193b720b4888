from __future__ import annotations

import dataclasses
import os
import threading

from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import ensure_csrf_cookie
from rest_framework.decorators import api_view, renderer_classes
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from inngest_realtime_django import RealtimeStreamingResponse
from inngest_realtime_django.rest_framework import EventStreamRenderer

from .realtime import Inbox, realtime


@ensure_csrf_cookie
def log_in(request: HttpRequest, username: str) -> HttpResponse:
    login(request, User.objects.get(username=username))
    return HttpResponse("welcome")


@login_required
def own(request: HttpRequest) -> HttpResponseBase:
    """A view that knows nothing of ASGI or WSGI, in a transaction as ATOMIC_REQUESTS wants."""
    inbox = Inbox(username=User.objects.get(pk=request.user.pk).username)
    return RealtimeStreamingResponse(request, realtime.subscribe(channel=inbox), headers={"X-Own": "1"}, heartbeat=0.1)


@api_view(["GET"])
@renderer_classes([JSONRenderer, EventStreamRenderer])
def rest(request: Request, username: str) -> HttpResponseBase:
    if username == "nobody":
        raise NotFound
    return RealtimeStreamingResponse(request, realtime.subscribe(channel=Inbox(username=username)), heartbeat=0.1)


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("goodbye")


def wrong_face(request: HttpRequest) -> HttpResponseBase:
    """Right under WSGI, and a mistake under ASGI that is told."""
    return RealtimeStreamingResponse(request, realtime.subscribe_sync(channel=Inbox(username="ada")), heartbeat=0.1)


@transaction.non_atomic_requests
def stats(request: HttpRequest) -> HttpResponse:
    """What this process holds. An SQLite connection is an open file."""
    database = os.environ["DJANGO_DATABASE"]
    return JsonResponse(
        {
            **dataclasses.asdict(realtime.stats()),
            "pid": os.getpid(),
            "threads": threading.active_count(),
            "connections": sum(_target(entry) == database for entry in os.listdir("/proc/self/fd")),
        }
    )


def _target(entry: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{entry}")
    except OSError:
        return ""
