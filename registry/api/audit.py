"""The audit: what was and is billed, for which version, since when, on whose word."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import AsOf, documented
from registry.application.audit_csv import audit_csv
from registry.application.auditing import moment
from registry.transport.services import Services, check

Time = Annotated[str | None, Query(description="A date or a time, ISO 8601; UTC without a zone", max_length=64)]
By = Literal["model", "provider", "connection", "day"]
Format = Annotated[Literal["json", "csv", "focus"], Query(description="csv and focus (FinOps FOCUS) are CSV files")]


class Audit:
    def __init__(self, services: Services) -> None:
        self._auditing = services.registry.auditing

    def add_to(self, router: APIRouter) -> None:
        shown = documented(200, "Audit")
        shown[200]["content"]["text/csv"] = {"schema": {"type": "string"}}
        router.add_api_route("/audit/deployments", self.deployments, methods=["GET"], responses=shown)
        router.add_api_route("/audit/costs", self.costs, methods=["GET"], responses=shown)

    def deployments(
        self,
        request: Request,
        from_: Annotated[Time, Query(alias="from")] = None,
        to: Time = None,
        as_of: AsOf = None,
        format: Format = "json",
    ) -> Response:
        """Every deployment that was billed in a span of time, with its billed intervals."""
        return self._answer(request, from_, to, None, as_of, format)

    def costs(
        self,
        request: Request,
        from_: Annotated[Time, Query(alias="from")] = None,
        to: Time = None,
        by: By = "model",
        as_of: AsOf = None,
        format: Format = "json",
    ) -> Response:
        """The same, with the cost of each model, provider, connection or day in `groups`."""
        return self._answer(request, from_, to, by, as_of, format)

    def _answer(
        self, request: Request, from_: str | None, to: str | None, by: By | None, as_of: str | None, format: str
    ) -> Response:
        check(request, "read")
        start, end = moment(from_, "from"), moment(to, "to")
        if format == "focus":
            return _file(self._auditing.focus(from_=start, to=end, as_of=as_of).csv(), "tenure-focus.csv")
        view = self._auditing.audit(from_=start, to=end, by=by, as_of=as_of)
        return JSONResponse(view.as_json()) if format == "json" else _file(audit_csv(view), "tenure-audit.csv")


def _file(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
