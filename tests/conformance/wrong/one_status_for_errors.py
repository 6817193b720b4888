"""One status for all errors of an application's own routes, whatever they are."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from conformance.wrong.adapter import Adapter


class OneStatusForErrors(Adapter):
    def error(self, request: Request, error: Exception) -> Response:
        response = super().error(request, error)
        response.status_code = 400
        return response


app = OneStatusForErrors().app()
