"""A version that somebody trains elsewhere by their own code: begun here, its files sent, checked, and then trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import VERSION, Key, ModelName, Number, Once, answer, as_problem, documented, url_of
from registry.api.bodies import Ended, OwnVersion
from registry.domain.errors import BadInputError
from registry.domain.ids import VersionRef
from registry.transport.folders import NAME_MAX, receive
from registry.transport.services import Services, check, who

OFFSET_MAX = 2**50
PIECE: dict[str, Any] = {
    "type": "object",
    "required": ["name", "bytes"],
    "properties": {
        "name": {"type": "string"},
        "bytes": {"type": "integer", "description": "How long the file is now: where the next piece begins"},
    },
    "example": {"name": "model.safetensors", "bytes": 16777216},
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes from `offset` on",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class OwnTraining:
    def __init__(self, services: Services, once: Once) -> None:
        self._registry = services.registry
        self._commands = services.registry.commands
        self._once = once

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        begun = documented(201, "Version", etag=True)
        shown = documented(200, "Version", etag=True)
        add("/models/{model}/own-versions", self.begin, methods=["POST"], status_code=201, responses=begun)
        add(f"{VERSION}/heartbeat", self.heartbeat, methods=["POST"], responses=shown)
        add(f"{VERSION}/files", self.send, methods=["PUT"], responses=documented(200, PIECE), openapi_extra=BODY)
        add(f"{VERSION}/finish", self.finish, methods=["POST"], responses=shown)

    def begin(self, request: Request, model: ModelName, body: OwnVersion, key: Key = None) -> Response:
        """Begin a version that you train yourself. Send its files, then `finish`; say `heartbeat` every few minutes."""
        check(request, "develop", model)

        def act(inner: str | None) -> Response:
            by = who(request, body.reason)
            ref, _ = self._commands.own_training(model, body.connection, body.base_model, by, inner)
            self._commands.trainers.heard(ref)
            return answer(self._registry.reading.version(ref), 201, location=url_of(ref))

        return self._once(request, key, body.model_dump(), act)

    def heartbeat(self, request: Request, model: ModelName, number: Number) -> Response:
        """Say that you still train it. A version whose trainer is silent for ten minutes has failed."""
        check(request, "develop", model)
        ref = VersionRef(model, number)
        self._commands.own_folder(ref)
        self._commands.trainers.heard(ref)
        return answer(self._registry.reading.version(ref))

    async def send(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        name: Annotated[
            str,
            Query(description="Within the model's folder, with / between folders", min_length=1, max_length=NAME_MAX),
        ],
        offset: Annotated[int, Query(description="Where these bytes begin", ge=0, le=OFFSET_MAX)] = 0,
    ) -> JSONResponse:
        """Leave one file, or a piece of it, in the version's folder. What stood from `offset` on is replaced."""
        check(request, "develop", model)
        ref = VersionRef(model, number)

        def begin() -> Path:
            folder = self._commands.own_folder(ref)
            self._commands.limits.check_space()
            return folder

        folder = await to_thread.run_sync(begin)
        size = await receive(request.stream(), folder, name, offset)
        self._commands.trainers.heard(ref)
        return JSONResponse({"name": name, "bytes": size})

    def finish(self, request: Request, model: ModelName, number: Number, body: Ended, key: Key = None) -> Response:
        """Training has ended: the folder is checked, and the version is `trained`; or, with an `error`, `failed`.

        A folder that holds no model fails the version, and is answered with 422.
        """
        check(request, "develop", model)
        ref = VersionRef(model, number)

        def act(_: str | None) -> Response:
            folder = self._commands.own_folder(ref)
            try:
                self._commands.own_training_ended(ref, folder, body.error, who(request, body.reason))
            except BadInputError as error:
                if body.error is None:
                    raise as_problem(error, f"{folder}", "its folder") from error.__cause__
            return answer(self._registry.reading.version(ref))

        return self._once(request, key, body.model_dump(), act)
