"""Questions, answered as views. Every read that shows state takes `at`, a position, and answers from the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from registry.application.ports import Clock, DeploymentQuery, EventLog, VersionQuery
from registry.application.views import (
    ArtifactView,
    ConnectionView,
    DeploymentView,
    EventView,
    JobView,
    MetricView,
    ModelView,
    OrphanJobView,
    VersionView,
)
from registry.domain import ledger
from registry.domain.deploying import GONE
from registry.domain.errors import BadInputError, NotFoundError
from registry.domain.events import Json
from registry.domain.ids import (
    VersionRef,
    check_name,
    deployment_stream,
    model_stream,
    parse_ref,
    version_stream,
    whole_number,
)
from registry.domain.ledger import Charge
from registry.domain.policy import policy_json
from registry.domain.states import ConnectionState, DeploymentState, ModelState, VersionState
from registry.domain.versions import legal, ref_of
from statemachine import VERSION

MOVING = frozenset({"queued", "training", "deploying"})
AsOf = str | int | datetime | None


class Reading:
    """All questions. `as_of` is a position (an integer), an ISO 8601 time, or None for now."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def now(self) -> datetime:
        return self._clock()

    def newest_at(self) -> datetime:
        """When the newest event was recorded; now where there is none."""
        return self._time(self._log.head())

    def position(self, as_of: AsOf) -> int | None:
        """Raises BadInputError for what is neither a position nor a time."""
        asked = asked_for(as_of)
        return self._log.position_at(asked) if isinstance(asked, datetime) else asked

    def moment(self, as_of: AsOf) -> tuple[int, datetime] | None:
        """The position, and the time that was asked for or else that of the position. Raises as `position`."""
        at = self.position(as_of)
        if at is None:
            return None
        asked = asked_for(as_of)
        return at, asked if isinstance(asked, datetime) else self._time(at)

    # Models and versions

    def models(self, as_of: AsOf = None) -> list[ModelView]:
        at = self.position(as_of)
        moving: dict[str, list[str]] = {}
        for version in self._log.versions(VersionQuery(states=MOVING, order="oldest"), at=at).items:
            moving.setdefault(version.model, []).append(str(ref_of(version)))
        default = self._log.registry(at=at).policy
        return [_model_view(one, tuple(moving.get(one.name, ())), default) for one in self._log.models(at=at)]

    def model(self, name: str, as_of: AsOf = None) -> ModelView:
        at = self.position(as_of)
        state = self.model_state(name, at)
        moving: Sequence[VersionState] = ()
        if state.last_version:
            moving = self._log.versions(VersionQuery(model=name, states=MOVING, order="oldest"), at=at).items
        return _model_view(state, tuple(str(ref_of(one)) for one in moving), self._log.registry(at=at).policy)

    def policy(self, name: str, as_of: AsOf = None) -> Json:
        """Every key with its value: the model's own, then the registry's, then the defaults."""
        at = self.position(as_of)
        return policy_json(self.model_state(name, at).policy, self._log.registry(at=at).policy)

    def model_state(self, name: str, at: int | None = None) -> ModelState:
        """Raises NotFoundError."""
        check_name(name, "model")
        state = self._log.model(name, at=at)
        if state is None:
            known = [one.name for one in self._log.models(at=at)]
            raise NotFoundError(f"there is no model {name!r}", hint=_near(name, known, "models"))
        return state

    def version(self, ref: VersionRef, as_of: AsOf = None) -> VersionView:
        at = self.position(as_of)
        state = self.version_state(ref, at)
        deployments: Sequence[DeploymentState] = ()
        if state.artifact_id is not None:
            deployments = self._log.deployments(DeploymentQuery(model=ref.model, version=ref.number), at=at)
        return _version_view(state, deployments)

    def version_state(self, ref: VersionRef, at: int | None = None) -> VersionState:
        """Raises NotFoundError."""
        state = self._log.version(ref, at=at)
        if state is None:
            model = self.model_state(ref.model, at)
            hint = (
                f"{ref.model} has versions 1 to {model.last_version}"
                if model.last_version
                else f"{ref.model} has no version yet"
            )
            raise NotFoundError(f"there is no version {ref}", hint=hint)
        return state

    def versions(self, query: VersionQuery, as_of: AsOf = None) -> tuple[list[VersionView], str | None]:
        """One page and the cursor of the next. A model that has no version yet gives an empty list.

        Raises BadInputError for a state that there is not.
        """
        if unknown := query.states - set(VERSION.states):
            known = ", ".join(VERSION.states)
            raise BadInputError(f"state = {min(unknown)!r} is not one of {known}", field="state")
        at = self.position(as_of)
        if query.model is not None:
            self.model_state(query.model, at)
        page = self._log.versions(query, at=at)
        deployments: dict[tuple[str, int], list[DeploymentState]] = {}
        for one in self._log.deployments(DeploymentQuery(model=query.model, live=True), at=at):
            deployments.setdefault((one.model, one.version), []).append(one)
        views = [_version_view(one, deployments.get((one.model, one.version), ())) for one in page.items]
        return views, page.next

    # History and telemetry

    def history(self, ref: str, as_of: AsOf = None, *, after: int = 0) -> list[EventView]:
        """Of a model: its own events, its versions' and deployments'. Of a version: its own and its deployments'."""
        at = self.position(as_of)
        streams = self.streams(ref, at)
        return [EventView.of(event) for event in self._log.read(streams=streams, after=after, until=at)]

    def streams(self, ref: str, at: int | None = None) -> list[str]:
        model, number = parse_ref(ref)
        if number is None:
            self.model_state(model, at)
            return [model_stream(model), *(one for one in self._log.model_streams(model) if one != f"model:{model}")]
        version = VersionRef(model, number)
        self.version_state(version, at)
        mine = self._log.deployments(DeploymentQuery(model=model, version=number))
        return [version_stream(version), *(deployment_stream(one.id) for one in mine)]

    def metrics(self, ref: VersionRef, as_of: AsOf = None) -> list[MetricView]:
        """Of the newest attempt; as of a time, of the attempt of then, what was recorded by then."""
        at, until = self.moment(as_of) or (None, None)
        state = self.version_state(ref, at)
        points = self._log.metrics(ref, attempt=None if at is None else state.attempt)
        return [
            MetricView(
                step=one.step,
                name=one.name,
                value=one.value,
                epoch=one.epoch,
                attempt=one.attempt,
                recorded_at=one.recorded_at,
            )
            for one in points
            if until is None or one.recorded_at <= until
        ]

    # Deployments and money

    def deployments(
        self,
        *,
        billed: bool | None = None,
        model: str | None = None,
        version: int | None = None,
        as_of: AsOf = None,
    ) -> list[DeploymentView]:
        """`version`: only of that one of the model."""
        at = self.position(as_of)
        if model is not None:
            self.model_state(model, at)
        now = self._time(at)
        query = DeploymentQuery(model=model, version=version)
        views = [deployment_view(one, now) for one in self._log.deployments(query, at=at)]
        return [one for one in views if billed is None or one.billed is billed]

    def deployment(self, id: str, as_of: AsOf = None) -> DeploymentView:
        at = self.position(as_of)
        return deployment_view(self.deployment_state(id, at), self._time(at))

    def deployment_state(self, name_or_id: str, at: int | None = None) -> DeploymentState:
        """By the registry's id, the provider's name, or its resource id. Raises NotFoundError."""
        state = self._log.deployment(name_or_id, at=at) if name_or_id.startswith("dep_") else None
        if state is not None:
            return state
        for one in reversed(self._log.deployments(DeploymentQuery(), at=at)):
            if name_or_id in {one.name, one.provider_id}:
                return one
        raise no_deployment(name_or_id)

    # Connections

    def connections(self, as_of: AsOf = None) -> list[ConnectionView]:
        found = self._log.connections(at=self.position(as_of))
        return [_connection_view(one) for one in found if not one.removed]

    def connection_state(self, name: str) -> ConnectionState:
        """Raises NotFoundError."""
        state = self._log.connection(name)
        if state is None or state.removed:
            known = [one.name for one in self._log.connections() if not one.removed]
            raise NotFoundError(f"there is no connection {name!r}", hint=_near(name, known, "connections"))
        return state

    def _time(self, at: int | None) -> datetime:
        """The time of a position: of its event, so that an answer about the past stays what it is."""
        if at is None:
            return self._clock()
        event = next(iter(self._log.read(after=at - 1, until=at)), None) if at else None
        return event.recorded_at if event else self._clock()


def no_deployment(name_or_id: str) -> NotFoundError:
    return NotFoundError(f"there is no deployment {name_or_id!r}", hint="tenure deployments shows those that are")


def asked_for(as_of: AsOf) -> int | datetime | None:
    """The position or the time that is meant. Raises BadInputError for what is neither; True is no position."""
    if as_of is None:
        return None
    if isinstance(as_of, datetime):
        return within_calendar(aware(as_of, "as_of"))
    text = str(as_of)
    position = whole_number(text)
    if position is not None:
        return position
    try:
        return within_calendar(datetime.fromisoformat(text))
    except ValueError:
        raise BadInputError(
            f"as_of = {text!r} is neither a position (an integer) nor an ISO 8601 time", field="as_of"
        ) from None


def aware(time: datetime, field: str) -> datetime:
    """Raises BadInputError for a time without a zone: what it means is another moment elsewhere."""
    if time.tzinfo is None:
        raise BadInputError(
            f"{field} is a time without a zone: write {time.isoformat()}+00:00 if it is UTC", field=field
        )
    return time


EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def within_calendar(time: datetime) -> datetime:
    """The same time, in UTC, with room on both sides: a zone or a microsecond more must not lead out of the calendar.

    One without a zone is local. Nothing was before EARLIEST, and nothing is recorded after LATEST.
    """
    try:
        return min(max(time.astimezone(UTC), EARLIEST), LATEST)
    except (OverflowError, ValueError):
        return EARLIEST if time.year < EARLIEST.year else LATEST


def _near(name: str, known: list[str], what: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(sorted(known)[:20])}" if known else f"there are no {what} yet"


def _model_view(state: ModelState, moving: tuple[str, ...], default: Json) -> ModelView:
    assert state.created_at is not None
    return ModelView(
        model=state.name,
        active=f"{state.name}@{state.active}" if state.active else None,
        versions=state.last_version,
        moving=moving,
        policy=policy_json(state.policy, default),
        created_at=state.created_at,
        created_by=state.created_by,
        stream_version=state.stream_version,
    )


def _version_view(state: VersionState, deployments: Iterable[DeploymentState]) -> VersionView:
    live = [one for one in deployments if one.state not in GONE]
    assert state.created_at is not None
    assert state.changed_at is not None
    return VersionView(
        model=state.model,
        version=state.version,
        ref=str(ref_of(state)),
        state=state.state,
        active=state.state == "active" or state.reactivating,
        connection=state.connection,
        provider=state.provider,
        base_model=state.base_model,
        method=state.method,
        hyperparameters=state.hyperparameters,
        job=_job(state),
        artifact=ArtifactView(id=state.artifact_id, digest=state.artifact_digest) if state.artifact_id else None,
        deployments=tuple(one.id for one in live),
        dataset={"train": state.train, "validation": state.validation} if state.train else None,
        metrics=state.metrics,
        error=state.error,
        attempt=state.attempt,
        approvals=state.approvals,
        legal=legal(state),
        created_at=state.created_at,
        created_by=state.created_by,
        changed_at=state.changed_at,
        activated_at=state.activated_at,
        retired_at=state.retired_at,
        retires_on=state.retires_on,
        stream_version=state.stream_version,
    )


def deployment_view(state: DeploymentState, now: datetime, *, known: Sequence[Charge] = ()) -> DeploymentView:
    """`known`: charges that have been reckoned; where they are of its whole life they are taken."""
    assert state.requested_at is not None
    since, until = ledger.billed_since(state), ledger.billed_until(state)
    charges = known
    if since is not None and not (known and known[0].from_ == since and known[-1].to == min(until or now, now)):
        charges = ledger.charges(state, from_=since, to=now)
    return DeploymentView(
        id=state.id,
        model=state.model,
        version=state.version,
        ref=f"{state.model}@{state.version}" if state.model else "",
        connection=state.connection,
        provider=state.provider,
        provider_id=state.provider_id,
        name=state.name,
        state=state.state,
        billed=ledger.billed_now(state, now),
        billed_from=since,
        billed_to=until,
        committed_until=state.committed_until,
        hourly_rate=ledger.rate_at(state, now),
        currency=state.currency,
        cost_to_date=ledger.total(one.cost for one in charges),
        requested_at=state.requested_at,
        requested_by=state.requested_by,
        reason=state.reason,
        attached=state.attached,
        other_artifact=state.other_artifact,
        endpoint=state.endpoint,
        error=state.error,
        stream_version=state.stream_version,
    )


def _connection_view(state: ConnectionState) -> ConnectionView:
    assert state.declared_at is not None
    return ConnectionView(
        name=state.name,
        provider=state.provider,
        settings=state.settings,
        fine_tuning=state.settings.get("fine_tuning", True) is True,
        error=state.error,
        declared_at=state.declared_at,
        orphan_jobs=tuple(
            OrphanJobView(
                id=one.job_id,
                name=one.name,
                status=one.status,
                found_at=one.found_at,
                suspected=one.suspected,
                duplicate=one.duplicate,
            )
            for one in state.orphan_jobs
        ),
        stream_version=state.stream_version,
    )


def _job(state: VersionState) -> JobView | None:
    if state.job_id is None:
        return None
    finish = None if state.job_final else state.job_estimated_finish_at
    return JobView(id=state.job_id, status=state.job_status, estimated_finish_at=finish)
