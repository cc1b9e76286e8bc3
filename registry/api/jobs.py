"""A version's training job at its provider: pause it, let it go on, its checkpoints."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import VERSION, Key, ModelName, Number, Once, answer, documented, listing
from registry.api.bodies import Because
from registry.api.schemas import page
from registry.application.jobs import Steering
from registry.domain.ids import VersionRef
from registry.transport.services import Services, check, who


class Jobs:
    def __init__(self, services: Services, once: Once) -> None:
        self._registry = services.registry
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        steered = documented(200, "Version", etag=True)
        add(f"{VERSION}/pause", self.pause, methods=["POST"], responses=steered)
        add(f"{VERSION}/resume", self.resume, methods=["POST"], responses=steered)
        add(f"{VERSION}/checkpoints", self.checkpoints, methods=["GET"], responses=documented(200, page("Checkpoint")))

    def pause(
        self, request: Request, model: ModelName, number: Number, body: Because | None = None, key: Key = None
    ) -> Response:
        """Pause the training of a version, where the provider can."""
        return self._steer("pause", request, VersionRef(model, number), body, key)

    def resume(
        self, request: Request, model: ModelName, number: Number, body: Because | None = None, key: Key = None
    ) -> Response:
        """Let a paused training go on."""
        return self._steer("resume", request, VersionRef(model, number), body, key)

    def checkpoints(self, request: Request, model: ModelName, number: Number) -> JSONResponse:
        """What the provider keeps of a version's training; each can be imported as a version of its own."""
        check(request, "read", model)
        return listing(self._registry.jobs.checkpoints(VersionRef(model, number)))

    def _steer(
        self, what: Steering, request: Request, ref: VersionRef, body: Because | None, key: str | None
    ) -> Response:
        check(request, "develop", ref.model)
        reason = body.reason if body else None

        def act(_: str | None) -> Response:
            self._registry.jobs.steer(ref, what, who(request, reason))
            return answer(self._registry.reading.version(ref))

        return self._once(request, key, [what, reason], act)
