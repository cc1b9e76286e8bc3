"""Models: what they are, their policy, and which version is active."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import (
    AsOf,
    Cursor,
    IfMatch,
    Key,
    Limit,
    ModelName,
    Once,
    answer,
    documented,
    expected,
    listing,
    page_of,
    url_of,
)
from registry.api.bodies import Active, NewModel
from registry.api.schemas import page
from registry.domain.ids import VersionRef, model_stream
from registry.transport.services import Services, check, check_somewhere, who

POLICY = {"type": "object", "description": "Every rule with its value; PUT in the same shape"}
ACTIVE = {
    "type": "object",
    "required": ["model", "version", "ref"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": ["integer", "null"]},
        "ref": {"type": ["string", "null"]},
    },
}


class Models:
    def __init__(self, services: Services, once: Once) -> None:
        self._reading = services.registry.reading
        self._commands = services.registry.commands
        self._declaring = services.registry.declaring
        self._reconciler = services.registry.reconciler
        self._replaying = services.registry.replaying
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        add("/models", self.list, methods=["GET"], responses=documented(200, page("Model")))
        add("/models", self.declare, methods=["POST"], status_code=201, responses=documented(201, "Model", etag=True))
        add("/models/{model}", self.show, methods=["GET"], responses=documented(200, "Model", etag=True))
        policy = "/models/{model}/policy"
        add(policy, self.policy, methods=["GET"], responses=documented(200, POLICY, etag=True))
        add(policy, self.set_policy, methods=["PUT"], responses=documented(200, POLICY, etag=True))
        add(f"{policy}/plan", self.policy_plan, methods=["GET"], responses=documented(200, page("Step")))
        add(f"{policy}/replay", self.policy_replay, methods=["POST"], responses=documented(200, "Replay"))
        active = "/models/{model}/active"
        add(active, self.active, methods=["GET"], responses=documented(200, ACTIVE, etag=True))
        add(active, self.activate, methods=["PUT"], responses=documented((200, 202), "Version", etag=True))

    def list(self, request: Request, as_of: AsOf = None, limit: Limit = 100, cursor: Cursor = None) -> JSONResponse:
        """The models that you may see, by name."""
        principal = check_somewhere(request, "read")
        found = [one for one in self._reading.models(as_of) if principal.may("read", one.model)]
        return listing(*page_of(found, attrgetter("model"), limit, cursor))

    def declare(self, request: Request, body: NewModel, key: Key = None) -> Response:
        """Declare a model, with a policy or without. One that is there stays as it is."""
        check(request, "develop" if body.policy is None else "administer", body.model)

        def act(_: str | None) -> Response:
            table = {} if body.policy is None else {"policy": body.policy}
            self._declaring.apply({"models": {body.model: table}}, who(request), plan=False)
            location = f"/api/v1/models/{body.model}"
            return answer(self._reading.model(body.model), 201, location=location)

        return self._once(request, key, body.model_dump(), act)

    def show(self, request: Request, model: ModelName, as_of: AsOf = None) -> JSONResponse:
        """One model, with its active version and what is in motion."""
        check(request, "read", model)
        return answer(self._reading.model(model, as_of))

    def policy(self, request: Request, model: ModelName, as_of: AsOf = None) -> JSONResponse:
        """A model's rules for deploying, activating, cleaning up, approving and spending."""
        check(request, "read", model)
        view = self._reading.model(model, as_of)
        return _policy(view.policy, view.stream_version)

    def set_policy(
        self, request: Request, model: ModelName, body: dict[str, Any], if_match: IfMatch = None
    ) -> JSONResponse:
        """Set the rules that the body names; the others stay."""
        check(request, "administer", model)
        self._reading.model_state(model)
        self._declaring.set_policy(model, body, who(request), expected(if_match, model_stream(model)))
        view = self._reading.model(model)
        return _policy(view.policy, view.stream_version)

    def policy_plan(
        self, request: Request, model: ModelName, as_of: AsOf = None, limit: Limit = 100, cursor: Cursor = None
    ) -> JSONResponse:
        """What the policy would do now, and why. Changes nothing."""
        check(request, "read", model)
        past = self._reading.moment(as_of)
        self._reading.model_state(model, past[0] if past else None)
        steps = self._reconciler.policy_plan(model, past)
        return listing(*page_of(steps, lambda one: f"{one.action} {one.subject}", limit, cursor))

    def policy_replay(
        self, request: Request, model: ModelName, body: dict[str, Any] | None = None, key: Key = None
    ) -> Response:
        """Another policy over the recorded history: what it would have deployed, deleted and spent. Changes nothing.

        The body holds the policy's keys; without one, the policy in force is replayed.
        """
        check(request, "read", model)
        return self._once(request, key, body, lambda _: answer(self._replaying.replay(model, body)))

    def active(self, request: Request, model: ModelName, as_of: AsOf = None) -> JSONResponse:
        """The active version, if there is one."""
        check(request, "read", model)
        view = self._reading.model(model, as_of)
        number = int(view.active.rpartition("@")[2]) if view.active else None
        document = {"model": model, "version": number, "ref": view.active}
        return JSONResponse(document, headers={"ETag": f'"{view.stream_version}"'})

    def activate(
        self, request: Request, model: ModelName, body: Active, key: Key = None, if_match: IfMatch = None
    ) -> Response:
        """Make a version the active one. 202: it is being deployed and becomes active when it serves; watch it."""
        check(request, "develop", model)
        ref = VersionRef(model, body.version)
        match = expected(if_match, model_stream(model))

        def act(inner: str | None) -> Response:
            self._commands.activate(ref, who(request, body.reason), inner, match)
            view = self._reading.version(ref)
            response = answer(view, 200 if view.state == "active" else 202, location=url_of(ref))
            response.headers["ETag"] = f'"{self._reading.model_state(model).stream_version}"'
            return response

        return self._once(request, key, [body.model_dump(), match], act)


def _policy(policy: Mapping[str, object], version: int) -> JSONResponse:
    from registry.application.views import to_json

    return JSONResponse(to_json(policy), headers={"ETag": f'"{version}"'})
