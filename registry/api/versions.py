"""Versions: fine-tune and import, move, look at what happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from registry.api.answers import (
    AsOf,
    Cursor,
    IfMatch,
    Key,
    Limit,
    ModelName,
    Number,
    Once,
    answer,
    as_problem,
    documented,
    expected,
    listing,
    page_of,
)
from registry.api.bodies import Attachment, Because, NewVersion
from registry.api.schemas import page
from registry.application.access import Action
from registry.application.commands import FineTune
from registry.application.ports import DataSource, VersionQuery
from registry.application.views import EstimateView, EventView, VersionView
from registry.domain.errors import BadInputError, TenureError
from registry.domain.ids import VersionRef, version_stream
from registry.domain.versions import Who
from registry.transport.services import Services, check, who
from registry.transport.uploads import Uploads

_VERSION = "/models/{model}/versions/{number}"
MOVES: Mapping[str, Action] = {"retire": "develop", "cancel": "develop", "retry": "develop", "approve": "approve"}
DIGITS_MAX = 15
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
        add(_VERSION, self.show, methods=["GET"], responses=documented(200, "Version", etag=True))
        moved = documented((200, 202), "Version", etag=True)
        add(_VERSION, self.delete, methods=["DELETE"], responses=moved)
        for move in MOVES:
            path = f"{_VERSION}/{move}"
            add(path, getattr(self, move), methods=["POST"], responses=moved)
        placed = documented((200, 202), "Deployment", etag=True)
        add(f"{_VERSION}/deploy", self.deploy, methods=["POST"], status_code=202, responses=placed)
        add(f"{_VERSION}/attach", self.attach, methods=["POST"], responses=placed)
        add(f"{_VERSION}/events", self.events, methods=["GET"], responses=documented(200, page("Event")))
        add(f"{_VERSION}/metrics", self.metrics, methods=["GET"], responses=documented(200, page("Metric")))
        add(f"{_VERSION}/deployments", self.deployments, methods=["GET"], responses=documented(200, page("Deployment")))
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
        self, request: Request, model: ModelName, number: Number, limit: Limit = 1000, cursor: Cursor = None
    ) -> JSONResponse:
        """The loss points of the newest attempt, by name and step."""
        check(request, "read", model)
        found = self._reading.metrics(VersionRef(model, number))
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
        found = [one for one in self._reading.deployments(model=model, as_of=as_of) if one.version == number]
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
        return answer(self._reading.version(ref), 201, location=_url(ref))

    def _fine_tune(self, request: Request, model: str, body: NewVersion, key: str | None) -> Response:
        command = self._command(model, body)
        try:
            ref = self._commands.fine_tune(command, who(request, body.reason), key)
        except TenureError as error:
            raise as_problem(error, f"{self._uploads.folder}/", "") from error.__cause__
        return answer(self._reading.version(ref), 202, location=_url(ref))

    def _estimate(self, model: str, body: NewVersion) -> EstimateView:
        try:
            checked, estimate = self._commands.estimate(self._command(model, body))
        except TenureError as error:
            raise as_problem(error, f"{self._uploads.folder}/", "") from error.__cause__
        validation = checked.validation
        return EstimateView(
            train={"rows": checked.train.rows, "tokens": checked.train.tokens, "sha256": checked.train.sha256},
            validation={"rows": validation.rows, "tokens": validation.tokens} if validation else None,
            tokens=estimate.tokens,
            steps=estimate.steps,
            duration_s=estimate.duration_s,
            cost=estimate.cost,
            currency=estimate.currency,
            notes=estimate.notes,
            warnings=checked.warnings,
        )

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

    # Moving

    def retire(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        body: Because | None = None,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Take the active version out of service, without a successor."""
        return self._move("retire", request, VersionRef(model, number), body, key, if_match)

    def cancel(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        body: Because | None = None,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Stop the training of a version."""
        return self._move("cancel", request, VersionRef(model, number), body, key, if_match)

    def retry(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        body: Because | None = None,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Train a failed or cancelled version again, as another attempt."""
        return self._move("retry", request, VersionRef(model, number), body, key, if_match)

    def approve(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        body: Because | None = None,
        key: Key = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Give your word for a version whose model's policy asks for approvals."""
        return self._move("approve", request, VersionRef(model, number), body, key, if_match)

    def delete(
        self,
        request: Request,
        model: ModelName,
        number: Number,
        key: Key = None,
        if_match: IfMatch = None,
        reason: Annotated[str | None, Query(max_length=4000)] = None,
    ) -> Response:
        """Delete a version's artifact for good, after its deployments; its history stays. 202: watch it."""
        return self._move("delete", request, VersionRef(model, number), Because(reason=reason), key, if_match)

    def _move(
        self, move: str, request: Request, ref: VersionRef, body: Because | None, key: str | None, if_match: str | None
    ) -> Response:
        check(request, MOVES.get(move, "develop"), ref.model)
        reason = body.reason if body else None
        match = expected(if_match, version_stream(ref))

        def act(inner: str | None) -> Response:
            by = who(request, reason)
            self._commanded(move, ref, by, inner, match)
            view = self._reading.version(ref)
            return answer(view, 202 if _under_way(move, view) else 200, location=_url(ref))

        return self._once(request, key, [reason, match], act)

    def _commanded(self, move: str, ref: VersionRef, by: Who, key: str | None, match: Mapping[str, int]) -> None:
        commands = self._commands
        act = {
            "retire": commands.retire,
            "cancel": commands.cancel,
            "retry": commands.retry,
            "approve": commands.approve,
            "delete": commands.delete,
        }[move]
        act(ref, by, key, match)

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


def position(cursor: str | None) -> int:
    """A page of events goes on after a position. Raises BadInputError."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= DIGITS_MAX):
        raise BadInputError(f"cursor {cursor!r} is not one of this list's", field="cursor")
    return int(cursor)


def _under_way(move: str, view: VersionView) -> bool:
    match move:
        case "retry":
            return True
        case "delete":
            return view.state != "deleted"
        case _:
            return False


def _url(ref: VersionRef) -> str:
    return f"/api/v1/models/{ref.model}/versions/{ref.number}"
