"""The page, and the runs of the pipeline."""

from __future__ import annotations

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_http_methods

import pipeline

from .realtime import realtime


@ensure_csrf_cookie
def page(request: HttpRequest) -> FileResponse:
    return FileResponse(settings.PAGE.open("rb"), content_type="text/html; charset=utf-8")


# Exempt for the terminal of the demo, which has no cookies. The page itself sends X-CSRFToken, as yours should.
@csrf_exempt
@require_http_methods(["GET", "POST"])
def runs(request: HttpRequest) -> JsonResponse:
    run_id = request.GET.get("runId", "")
    if request.method == "POST":
        return JsonResponse(pipeline.start(realtime, run_id).model_dump(), status=202)
    if run_id not in pipeline.runs:
        raise Http404("There is no such run.")
    return JsonResponse(pipeline.runs[run_id].model_dump())
