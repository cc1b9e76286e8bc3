"""The audit: what was billed, for which version, since when, on whose word, and what nobody uses or can account for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from registry.application.focus import Focus, Row, month_of, serving_rows, training_row
from registry.application.garbage import collector_paused
from registry.application.ports import Billed, BilledDay, Clock, DeploymentQuery, EventLog, Trained
from registry.application.reading import AsOf, Reading, asked_for, aware, deployment_view, within_calendar
from registry.application.views import (
    AuditView,
    BilledDeploymentView,
    DeploymentView,
    IntervalView,
    TrainingCostView,
)
from registry.domain import ledger
from registry.domain.errors import BadInputError
from registry.domain.events import Json
from registry.domain.states import DeploymentState

GROUPS = ("model", "provider", "connection", "day")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
CURRENCY = "USD"
"""What an audit without any price is said to be in."""

Amount = tuple[str, Decimal | None]
"""A currency, and a cost in it that may be unknown."""


def moment(text: str | None, field: str) -> datetime | None:
    """A date or a time as ISO 8601 writes it, UTC where it names no zone. Raises BadInputError naming the field."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "Write 2026-11-01, 2026-11-01T12:00:00Z or 2026-11-01T12:00:00+01:00."
        raise BadInputError(f"{field} {text!r} is not an ISO 8601 date or time.", field=field, hint=hint) from error
    return within_calendar(time if time.tzinfo is not None else time.replace(tzinfo=UTC))


class Auditing:
    def __init__(self, log: EventLog, clock: Clock, reading: Reading) -> None:
        self._log = log
        self._clock = clock
        self._reading = reading

    @collector_paused()
    def audit(
        self, *, from_: datetime | None = None, to: datetime | None = None, by: str | None = None, as_of: AsOf = None
    ) -> AuditView:
        """What was billed in [from_, to); by default everything so far. Nothing is charged ahead of now.

        `as_of` answers from what was known then, and takes that moment for now. Raises BadInputError.
        """
        if by is not None and by not in GROUPS:
            raise BadInputError(f"by = {by!r} is not one of {', '.join(GROUPS)}", field="by")
        from_ = None if from_ is None else within_calendar(aware(from_, "from"))
        to = None if to is None else within_calendar(aware(to, "to"))
        at = self._reading.position(as_of)
        now = self._now(as_of, at)
        end = to or now
        if from_ is not None and from_ > end:
            raise BadInputError(f"from = {from_.isoformat()} is after to = {end.isoformat()}", field="from")
        start, stop = from_ or EPOCH, min(end, now)
        entries = [_entry(one, now) for one in self._log.billed(from_=start, to=stop, at=at)]
        trained = self._log.trained(from_=start, to=to or FOREVER, at=at)
        training = [_training(one) for one in trained if _is_ours(one)]
        totals = _sums([*_charged(entries), *_paid(training)])
        running = self._running(entries, stop, now, at)
        rates = _sums((one.currency, one.hourly_rate) for one in running)
        return AuditView(
            from_=from_ or self._first(entries, end, at),
            to=end,
            currency=None if len(totals) > 1 else next(iter(totals), CURRENCY),
            total=_only(totals),
            totals=totals,
            hourly_rate=_only(rates),
            hourly_rates=rates,
            unpriced=sum(one.cost is None for one in (*entries, *training)),
            deployments=tuple(entries),
            training=tuple(training),
            unused=tuple(self._unused(running, at)),
            unknown=tuple(self._unknown(at, now)),
            foreign=tuple(self._foreign(at)),
            groups=tuple(self._groups(by, entries, training, start, stop, at)) if by else (),
        )

    @collector_paused()
    def focus(self, *, from_: datetime | None = None, to: datetime | None = None, as_of: AsOf = None) -> Focus:
        """What `audit` shows, in the rows of FOCUS, month by month. Raises BadInputError."""
        view = self.audit(from_=from_, to=to, as_of=as_of)
        at = self._reading.position(as_of)
        stop = min(view.to, self._now(as_of, at))
        connections = {one.name: one for one in self._log.connections(at=at)}
        rows: list[Row] = []
        # Not from the beginning of time, if that was asked for: each month is a question to the log.
        start = max(view.from_, self._first(view.deployments, stop, at))
        while start < stop:
            end = min(month_of(start)[1], stop)
            for one in self._log.billed(from_=start, to=end, at=at):
                rows += serving_rows(one, connections.get(one.deployment.connection))
            start = end
        for one in self._log.trained(from_=view.from_, to=to or FOREVER, at=at):
            row = training_row(one, connections.get(one.connection))
            rows += [] if row is None else [row]
        return Focus(rows=rows, unpriced=view.unpriced)

    def _now(self, as_of: AsOf, at: int | None) -> datetime:
        """Of a position: when it was recorded, so that an answer about the past stays what it is."""
        asked = asked_for(as_of)
        if isinstance(asked, datetime):
            return min(asked, self._clock())
        event = next(iter(self._log.read(after=at - 1, until=at)), None) if at else None
        return event.recorded_at if event else self._clock()

    def _first(self, entries: Sequence[BilledDeploymentView], end: datetime, at: int | None) -> datetime:
        """When the log begins, or something that was billed before it was known here."""
        event = next(iter(self._log.read(limit=1, until=at)), None)
        return min([end, *([event.recorded_at] if event else []), *(one.intervals[0].from_ for one in entries)])

    def _running(
        self, entries: Sequence[BilledDeploymentView], stop: datetime, now: datetime, at: int | None
    ) -> list[DeploymentView]:
        """What is billed at this moment, whatever time is asked about."""
        if stop < now:
            entries = [_entry(one, now) for one in self._log.billed(from_=now - ledger.MICROSECOND, to=now, at=at)]
        return [one.deployment for one in entries if one.deployment.billed]

    def _unused(self, running: Iterable[DeploymentView], at: int | None) -> Iterable[Json]:
        active = {one.name: one.active for one in self._log.models(at=at)}
        used: Mapping[str, datetime] = self._log.last_used() if at is None else {}
        for one in running:
            if one.state == "serving" and one.model and active.get(one.model) != one.version:
                yield {
                    "deployment": one.id,
                    "ref": one.ref,
                    "billed_from": one.billed_from,
                    "hourly_rate": one.hourly_rate,
                    "currency": one.currency,
                    "last_used_at": used.get(one.id),
                    "why": f"{one.ref} is not the active version",
                }

    def _unknown(self, at: int | None, now: datetime) -> Iterable[Json]:
        for one in self._log.deployments(DeploymentQuery(live=True), at=at):
            why = _doubt(one)
            if why is not None:
                view = deployment_view(one, now)
                yield {
                    "deployment": view.id,
                    "ref": view.ref,
                    "connection": view.connection,
                    "name": view.name,
                    "since": view.billed_from or view.requested_at,
                    "hourly_rate": view.hourly_rate,
                    "currency": view.currency,
                    "why": why,
                }
        for connection in self._log.connections(at=at):
            for job in connection.orphan_jobs:
                yield {
                    "deployment": None,
                    "ref": job.suspected,
                    "connection": connection.name,
                    "name": job.name,
                    "since": job.found_at,
                    "hourly_rate": None,
                    "currency": CURRENCY,
                    "why": f"training job {job.job_id} runs and spends money, and no version here knows it",
                }

    def _foreign(self, at: int | None) -> Iterable[Json]:
        for connection in self._log.connections(at=at):
            for one in connection.foreign:
                yield {
                    "connection": connection.name,
                    "provider": connection.provider,
                    "provider_id": one.provider_id,
                    "name": one.name,
                    "status": one.status,
                    "artifact_id": one.artifact_id,
                    "created_at": one.created_at,
                    "found_at": one.found_at,
                }

    def _groups(
        self,
        by: str,
        entries: Sequence[BilledDeploymentView],
        training: Sequence[TrainingCostView],
        start: datetime,
        stop: datetime,
        at: int | None,
    ) -> Iterable[Json]:
        days = self._log.billed_by_day(from_=start, to=stop, at=at) if by == "day" else ()
        sums: dict[tuple[str, str], _Group] = {}
        for key, serving, unpriced in _served(by, entries, days):
            group = sums.setdefault(key, _Group())
            group.serving += serving
            group.unpriced += unpriced
        for one in training:
            group = sums.setdefault((_training_key(by, one), one.currency), _Group())
            group.training += one.cost or Decimal(0)
            group.unpriced += one.cost is None
        for (key, currency), group in sorted(sums.items()):
            yield {
                by: key,
                "currency": currency,
                "serving": group.serving,
                "training": group.training,
                "cost": group.serving + group.training,
                "unpriced": group.unpriced,
            }


class _Group:
    def __init__(self) -> None:
        self.serving = Decimal(0)
        self.training = Decimal(0)
        self.unpriced = 0


def _served(
    by: str, entries: Sequence[BilledDeploymentView], days: Sequence[BilledDay]
) -> Iterable[tuple[tuple[str, str], Decimal, int]]:
    """((key, currency), cost as far as prices are known, how many lack one)"""
    for day in days:
        yield (day.day, day.currency), day.cost, day.unpriced
    if by != "day":
        for entry in entries:
            one = entry.deployment
            key = {"model": one.model, "provider": one.provider, "connection": one.connection}[by]
            known = sum((span.cost for span in entry.intervals if span.cost is not None), Decimal(0))
            yield (key, one.currency), known, entry.cost is None


def _training_key(by: str, one: TrainingCostView) -> str:
    match by:
        case "model":
            return one.version.rpartition("@")[0]
        case "provider":
            return one.provider
        case "connection":
            return one.connection
        case _:
            return one.trained_at.astimezone(UTC).date().isoformat()


def _entry(billed: Billed, now: datetime) -> BilledDeploymentView:
    return BilledDeploymentView(
        deployment=deployment_view(billed.deployment, now, known=billed.charges),
        intervals=tuple(
            IntervalView(from_=one.from_, to=one.to, known=one.known, hourly_rate=one.hourly, cost=one.cost)
            for one in billed.charges
        ),
        cost=ledger.total(one.cost for one in billed.charges),
    )


def _is_ours(one: Trained) -> bool:
    """Not a training by somebody's own code, of which nothing is known here."""
    return (one.tokens, one.duration_s, one.price) != (None, None, None)


def _training(one: Trained) -> TrainingCostView:
    unit = one.price.unit if one.price else "hour" if one.tokens is None and one.duration_s is not None else "1M-tokens"
    return TrainingCostView(
        version=one.ref,
        connection=one.connection,
        provider=one.provider,
        quantity=ledger.training_quantity(unit, tokens=one.tokens, duration_s=one.duration_s),
        unit=unit,
        price=one.price.amount if one.price else None,
        cost=one.cost,
        currency=one.currency or (one.price.currency if one.price else CURRENCY),
        trained_at=one.trained_at,
    )


def _charged(entries: Iterable[BilledDeploymentView]) -> Iterable[Amount]:
    return ((entry.deployment.currency, span.cost) for entry in entries for span in entry.intervals)


def _paid(training: Iterable[TrainingCostView]) -> Iterable[Amount]:
    return ((one.currency, one.cost) for one in training)


def _sums(amounts: Iterable[Amount]) -> Mapping[str, Decimal]:
    """By currency, of what is known. One in which everything was free is left out, unless it is the only one."""
    sums: dict[str, Decimal] = {}
    for currency, amount in amounts:
        if amount is not None:
            sums[currency] = sums.get(currency, Decimal(0)) + amount
    charged = {currency: amount for currency, amount in sorted(sums.items()) if amount}
    return charged or dict(sorted(sums.items())[:1])


def _only(sums: Mapping[str, Decimal]) -> Decimal | None:
    """Currencies are never added up."""
    return None if len(sums) > 1 else next(iter(sums.values()), Decimal(0))


def _doubt(one: DeploymentState) -> str | None:
    """Why nobody can say whether it is billed, or for what."""
    if one.orphan:
        served = f", and serves the artifact of {one.suspected}" if one.suspected else ""
        return f"it bears this registry's tag and no intent names it{served}"
    if one.outcome_unknown:
        return f"whether it was made is not known: {one.error}"
    if one.state == "requested":
        return "it was asked for; whether it was made is not recorded yet"
    return None
