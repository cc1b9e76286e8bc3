"""Deployments: what serves which version, and what is billed."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import (
    AsOf,
    Cursor,
    DeploymentId,
    IfMatch,
    Key,
    Limit,
    Once,
    answer,
    documented,
    expected,
    listing,
    page_of,
)
from registry.api.bodies import NAME
from registry.api.schemas import page
from registry.application.access import Action
from registry.application.reading import no_deployment
from registry.application.views import DeploymentView
from registry.domain.bounds import REASON_CHARACTERS_MAX
from registry.domain.ids import deployment_stream
from registry.transport.services import Services, check, check_somewhere, who


class Deployments:
    def __init__(self, services: Services, once: Once) -> None:
        self._reading = services.registry.reading
        self._commands = services.registry.commands
        self._comparing = services.registry.comparing
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        one = "/deployments/{id:path}"
        beside = "/deployments/side-by-side"
        add(beside, self.side_by_side, methods=["GET"], responses=documented(200, page("SideBySide")))
        add("/deployments", self.list, methods=["GET"], responses=documented(200, page("Deployment")))
        add(one, self.show, methods=["GET"], responses=documented(200, "Deployment", etag=True))
        add(one, self.delete, methods=["DELETE"], responses=documented((200, 202), "Deployment", etag=True))

    def list(
        self,
        request: Request,
        billed: Annotated[bool | None, Query(description="Only those that may be billed now, or only others")] = None,
        model: Annotated[str | None, Query(pattern=NAME)] = None,
        as_of: AsOf = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """The deployments that you may see, oldest request first; those that are gone too."""
        principal = check_somewhere(request, "read")
        found = self._reading.deployments(model=model, as_of=as_of)
        mine = [one for one in found if principal.may("read", one.model or None)]
        return listing(
            *page_of(mine, attrgetter("id"), limit, cursor, lambda one: billed is None or one.billed is billed)
        )

    def side_by_side(
        self,
        request: Request,
        billed: Annotated[bool | None, Query(description="Only those that may be billed now, or only others")] = None,
        model: Annotated[str | None, Query(pattern=NAME)] = None,
    ) -> JSONResponse:
        """The deployments that you may see beside what the providers show now, with the differences. Complete.

        What only a provider has is for those who may see every model.
        """
        principal = check(request, "read", model) if model else check_somewhere(request, "read")
        found = self._comparing.side_by_side(billed=billed, model=model)
        return listing([one for one in found if principal.may("read", one.model)])

    def show(self, request: Request, id: DeploymentId, as_of: AsOf = None) -> JSONResponse:
        """One deployment, by the registry's id or the provider's name, id or ARN."""
        return answer(self._visible(request, id, "read", as_of))

    def _visible(self, request: Request, id: str, action: Action, as_of: str | None = None) -> DeploymentView:
        """Raises NotFoundError for another model's too: that there is one is not for everybody to know."""
        principal = check_somewhere(request, action)
        view = self._reading.deployment(id, as_of)
        if not principal.may("read", view.model or None):
            raise no_deployment(id)
        principal.check(action, view.model or None)
        return view

    def delete(
        self,
        request: Request,
        id: DeploymentId,
        reason: Annotated[str | None, Query(max_length=REASON_CHARACTERS_MAX)] = None,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Delete a deployment. 202: it counts as billed until it has been seen gone; watch it."""
        known = self._visible(request, id, "develop")
        match = expected(if_match, deployment_stream(known.id))

        def act(inner: str | None) -> Response:
            view = self._reading.deployment(self._commands.undeploy(known.id, who(request, reason), inner, match))
            return answer(view, 200 if view.state == "deleted" else 202, location=f"/api/v1/deployments/{view.id}")

        return self._once(request, key, [reason, match], act)
