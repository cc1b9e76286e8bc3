"""Work on the whole registry: a pass of the reconciler, what a careful person would look at, the log's own checks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import Key, Once, documented, listing
from registry.api.connections import tested
from registry.api.schemas import page
from registry.application.doctor import examine
from registry.transport import doctor
from registry.transport.services import Services, check

COUNT: dict[str, Any] = {"type": "object", "required": ["events"], "properties": {"events": {"type": "integer"}}}


class Operations:
    def __init__(self, services: Services, once: Once) -> None:
        self._services = services
        self._registry = services.registry
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        add("/reconcile", self.reconcile, methods=["POST"], responses=documented(200, page("Step")))
        add("/doctor", self.doctor, methods=["GET"], responses=documented(200, page("Check")))
        add("/log/verify", self.verify, methods=["POST"], responses=documented(200, COUNT))
        add("/log/rebuild", self.rebuild, methods=["POST"], responses=documented(200, COUNT))

    def reconcile(
        self,
        request: Request,
        plan: Annotated[bool, Query(description="Only say what would be done")] = False,
        sweep: Annotated[bool, Query(description="Also compare what each connection has with the log")] = True,
        key: Key = None,
    ) -> Response:
        """One full pass now: start, poll, deploy, probe, switch, delete. Answers when nothing is left to do at once."""
        check(request, "read" if plan else "develop")
        reconciler = self._registry.reconciler
        if plan:
            return listing(reconciler.plan(sweep=sweep))
        return self._once(request, key, "reconcile", lambda _: listing(reconciler.run(sweep=sweep)))

    def doctor(self, request: Request) -> JSONResponse:
        """The server, who can sign in, the home, the log's chain, every connection, what is billed for nothing."""
        check(request, "administer")
        registry = self._registry
        found = examine(registry.home, registry.tools, registry.reading, lambda name: tested(registry, name))
        return listing([*doctor.examine(self._services), *found])

    def verify(self, request: Request, key: Key = None) -> Response:
        """Walk the chain of hashes over every event. Answers how many there are. It only reads, so with the same key it
        walks again: an answer that is kept is an event, for which a full disk has no room.
        """
        check(request, "administer")
        del key
        return JSONResponse({"events": self._registry.tools.verify()})

    def rebuild(self, request: Request, key: Key = None) -> Response:
        """Make the read models anew from the log. Answers how many events were read."""
        check(request, "administer")
        rebuild = self._registry.tools.rebuild
        return self._once(request, key, "rebuild", lambda _: JSONResponse({"events": rebuild()}))
