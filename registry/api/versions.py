"""Versions: fine-tune and import, look at what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import (
    VERSION,
    AsOf,
    Cursor,
    Key,
    Limit,
    ModelName,
    Number,
    Once,
    answer,
    as_problem,
    documented,
    listing,
    page_of,
    url_of,
)
from registry.api.bodies import NewVersion
from registry.api.schemas import page
from registry.application.commands import FineTune
from registry.application.ports import DataSource, VersionQuery
from registry.application.views import EstimateView, EventView
from registry.domain.errors import BadInputError, TenureError
from registry.domain.ids import VersionRef, whole_number
from registry.transport.services import Services, check, who
from registry.transport.uploads import Uploads

After = Annotated[int, Query(description="Only what came after this position", ge=0, le=2**53)]
States = Annotated[list[str] | None, Query(description="Only those in one of these states; repeat it", max_length=20)]


class Versions:
    def __init__(self, services: Services, once: Once, uploads: Uploads) -> None:
        self._registry = services.registry
        self._reading = services.registry.reading
        self._commands = services.registry.commands
        self._once = once
        self._uploads = uploads

    def add_to(self, router: APIRouter) -> None:
        add = router.add_api_route
        made = {**documented((201, 202), "Version", etag=True), 200: documented(200, "Estimate")[200]}
        add("/models/{model}/versions", self.list, methods=["GET"], responses=documented(200, page("Version")))
        add("/models/{model}/versions", self.begin, methods=["POST"], status_code=202, responses=made)
        add(VERSION, self.show, methods=["GET"], responses=documented(200, "Version", etag=True))
        add(f"{VERSION}/events", self.events, methods=["GET"], responses=documented(200, page("Event")))
        add(f"{VERSION}/metrics", self.metrics, methods=["GET"], responses=documented(200, page("Metric")))
        add(f"{VERSION}/deployments", self.deployments, methods=["GET"], responses=documented(200, page("Deployment")))
        add("/models/{model}/events", self.model_events, methods=["GET"], responses=documented(200, page("Event")))

    # Looking

    def list(
        self,
        request: Request,
        model: ModelName,
        state: States = None,
        as_of: AsOf = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """A model's versions, newest first. A model that has none yet gives an empty list."""
        check(request, "read", model)
        query = VersionQuery(model=model, states=frozenset(state or ()), limit=limit, after=cursor)
        return listing(*self._reading.versions(query, as_of))

    def show(self, request: Request, model: ModelName, number: Number, as_of: AsOf = None) -> JSONResponse:
        """One version, as it is or as it was."""
        check(request, "read", model)
        return answer(self._reading.version(VersionRef(model, number), as_of))

    def events(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        as_of: AsOf = None,
        after: After = 0,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """Everything that happened to a version and its deployments, in order."""
        check(request, "read", model)
        return self._history(f"{model}@{number}", as_of, after, limit, cursor)

    def model_events(
        self,
        request: Request,
        model: ModelName,
        as_of: AsOf = None,
        after: After = 0,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """Everything that happened to a model, its versions and its deployments, in order."""
        check(request, "read", model)
        return self._history(model, as_of, after, limit, cursor)

    def _history(self, ref: str, as_of: str | None, after: int, limit: int, cursor: str | None) -> JSONResponse:
        begin = max(after, position(cursor))
        at = self._reading.position(as_of)
        streams = self._reading.streams(ref, at)
        found = list(self._registry.log.read(streams=streams, after=begin, until=at, limit=limit + 1))
        more = len(found) > limit
        shown = [EventView.of(one) for one in found[:limit]]
        return listing(shown, str(shown[-1].position) if more else None)

    def metrics(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        as_of: AsOf = None,
        limit: Limit = 1000,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """The loss points of the newest attempt, by name and step."""
        check(request, "read", model)
        found = self._reading.metrics(VersionRef(model, number), as_of)
        return listing(*page_of(found, lambda one: f"{one.name}.{one.step}", limit, cursor))

    def deployments(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        as_of: AsOf = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> JSONResponse:
        """A version's deployments, those that are gone too."""
        check(request, "read", model)
        self._reading.version_state(VersionRef(model, number), self._reading.position(as_of))
        found = self._reading.deployments(model=model, version=number, as_of=as_of)
        return listing(*page_of(found, lambda one: one.id, limit, cursor))

    # Making

    def begin(
        self,
        request: Request,
        model: ModelName,
        body: NewVersion,
        key: Key = None,
        estimate: Annotated[bool, Query(description="Check, say what it would take and cost, and stop")] = False,
    ) -> Response:
        """Fine-tune (202: queued; watch it) or import (201). With `estimate`, only says what it would take (200)."""
        check(request, "develop", model)
        if body.artifact is not None:
            return self._once(request, key, body.model_dump(), lambda inner: self._import(request, model, body, inner))
        if estimate:
            return answer(self._estimate(model, body))
        return self._once(request, key, body.model_dump(), lambda inner: self._fine_tune(request, model, body, inner))

    def _import(self, request: Request, model: str, body: NewVersion, key: str | None) -> Response:
        assert body.artifact is not None
        ref = self._commands.import_version(
            model, body.connection, body.artifact.id, body.base_model, who(request, body.reason), key
        )
        return answer(self._reading.version(ref), 201, location=url_of(ref))

    def _fine_tune(self, request: Request, model: str, body: NewVersion, key: str | None) -> Response:
        command = self._command(model, body)
        try:
            ref = self._commands.fine_tune(command, who(request, body.reason), key)
        except TenureError as error:
            raise as_problem(error, f"{self._uploads.folder}/", "") from error.__cause__
        return answer(self._reading.version(ref), 202, location=url_of(ref))

    def _estimate(self, model: str, body: NewVersion) -> EstimateView:
        try:
            return EstimateView.of(*self._commands.estimate(self._command(model, body)))
        except TenureError as error:
            raise as_problem(error, f"{self._uploads.folder}/", "") from error.__cause__

    def _command(self, model: str, body: NewVersion) -> FineTune:
        if body.train is None or body.base_model is None:
            raise BadInputError("a fine-tune needs base_model and train", field="train")
        return FineTune(
            model=model,
            connection=body.connection,
            base_model=body.base_model,
            data=DataSource(
                train=self._uploads.path(body.train, "train"),
                validation=self._path(body.validation, "validation"),
                prompt=body.prompt_column,
                completion=body.completion_column,
                system=body.system_column,
                system_text=body.system,
            ),
            method=body.method,
            hyperparameters=body.hyperparameters,
            code=self._path(body.code, "code"),
            activate=body.activate,
            force=body.force,
        )

    def _path(self, id: str | None, field: str) -> Path | None:
        return None if id is None else self._uploads.path(id, field)


def position(cursor: str | None) -> int:
    """A page of events goes on after a position. Raises BadInputError."""
    if cursor is None:
        return 0
    after = whole_number(cursor)
    if after is None:
        raise BadInputError(f"cursor {cursor!r} is not one of this list's", field="cursor")
    return after
