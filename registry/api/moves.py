"""Moves of a version: retire, cancel, retry, approve, delete; deploy and attach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from registry.api.answers import VERSION, IfMatch, Key, ModelName, Number, Once, answer, documented, expected, url_of
from registry.api.bodies import Attachment, Because
from registry.application.access import Action
from registry.application.commands import Commands
from registry.application.views import VersionView
from registry.domain.bounds import REASON_CHARACTERS_MAX
from registry.domain.ids import VersionRef, version_stream
from registry.domain.versions import Who
from registry.transport.services import Services, check, who

Act = Callable[[VersionRef, Who, str | None, Mapping[str, int]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    act: Act
    told: str = ""
    action: Action = "develop"
    under_way: Callable[[VersionView], bool] = lambda _: False
    """Whether the version that is answered with is still on its way (202)."""


def posted(commands: Commands) -> Mapping[str, Move]:
    return {
        "retire": Move(act=commands.retire, told="Take the active version out of service, without a successor."),
        "cancel": Move(act=commands.cancel, told="Stop the training of a version."),
        "retry": Move(
            act=commands.retry,
            told="Train a failed or cancelled version again, as another attempt.",
            under_way=lambda _: True,
        ),
        "approve": Move(
            act=commands.approve,
            told="Give your word for a version whose model's policy asks for approvals.",
            action="approve",
        ),
    }


class Moves:
    def __init__(self, services: Services, once: Once) -> None:
        self._reading = services.registry.reading
        self._commands = services.registry.commands
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        moved = documented((200, 202), "Version", etag=True)
        for name, move in posted(self._commands).items():
            path = f"{VERSION}/{name}"
            add(path, self._posted(move), methods=["POST"], responses=moved, name=name, description=move.told)
        add(VERSION, self.delete, methods=["DELETE"], responses=moved)
        placed = documented((200, 202), "Deployment", etag=True)
        add(f"{VERSION}/deploy", self.deploy, methods=["POST"], status_code=202, responses=placed)
        add(f"{VERSION}/attach", self.attach, methods=["POST"], responses=placed)

    def _posted(self, move: Move) -> Callable[..., Response]:
        def handle(
            request: Request,
            model: ModelName,
            number: Number,
            body: Because | None = None,
            key: Key = None,
            if_match: IfMatch = None,
        ) -> Response:
            return self._move(move, request, VersionRef(model, number), body.reason if body else None, key, if_match)

        return handle

    def delete(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        key: Key = None,
        if_match: IfMatch = None,
        reason: Annotated[str | None, Query(max_length=REASON_CHARACTERS_MAX)] = None,
    ) -> Response:
        """Delete a version's artifact for good, after its deployments; its history stays. 202: watch it."""
        move = Move(act=self._commands.delete, under_way=lambda view: view.state != "deleted")
        return self._move(move, request, VersionRef(model, number), reason, key, if_match)

    def _move(
        self, move: Move, request: Request, ref: VersionRef, reason: str | None, key: str | None, if_match: str | None
    ) -> Response:
        check(request, move.action, ref.model)
        match = expected(if_match, version_stream(ref))

        def act(inner: str | None) -> Response:
            move.act(ref, who(request, reason), inner, match)
            view = self._reading.version(ref)
            return answer(view, 202 if move.under_way(view) else 200, location=url_of(ref))

        return self._once(request, key, [reason, match], act)

    def deploy(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        body: Because | None = None,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Deploy a version without making it active: a warm standby, which may be billed. 202: watch it."""
        check(request, "develop", model)
        ref = VersionRef(model, number)
        reason = body.reason if body else None
        match = expected(if_match, version_stream(ref))

        def act(inner: str | None) -> Response:
            view = self._reading.deployment(self._commands.deploy(ref, who(request, reason), inner, match))
            status = 200 if view.state == "serving" else 202
            return answer(view, status, location=f"/api/v1/deployments/{view.id}")

        return self._once(request, key, [reason, match], act)

    def attach(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        body: Attachment,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Take over a deployment that exists already, after checking that it serves this version."""
        check(request, "develop", model)
        ref = VersionRef(model, number)
        match = expected(if_match, version_stream(ref))

        def act(inner: str | None) -> Response:
            attached = self._commands.attach(ref, body.deployment, who(request, body.reason), inner, match)
            return answer(self._reading.deployment(attached), location=f"/api/v1/deployments/{attached}")

        return self._once(request, key, [body.model_dump(), match], act)
