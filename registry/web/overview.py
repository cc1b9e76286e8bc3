"""What is paid for now, what is in motion, what needs somebody: from questions that stay small however long the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from starlette.responses import Response

from registry.application.ports import VersionQuery
from registry.application.reading import MOVING
from registry.application.views import ConnectionView, DeploymentView, EventView, ModelView
from registry.domain import retirement
from registry.web import serving
from registry.web.page import Page
from registry.web.timeline import Entry, grouped
from registry.web.words import actor_name

MODELS_SHOWN = 12
MOVING_SHOWN = 12
BILLED_SHOWN = 20
RECENT_SHOWN = 8
MODELS_PER_PAGE = 50
ACTIVE_SEARCHED = 500
WARNINGS_SHOWN = 12
IDLE_TOLD = 3
"""Standbys of one model that are told one by one; more of them are told together."""
NEAR_LIMIT = Decimal("0.8")
"""Of a budget, from which on it is warned of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`tone`: bad is being lost or spent now; warn may become so. `path` is where something can be done about it."""

    tone: str
    title: str
    text: str
    path: str | None = None


def overview(page: Page) -> Response:
    reading = page.registry.reading
    models = page.readable(reading.models(page.as_of))
    names = {one.model for one in models}
    billed = page.visible(serving.billed(page))
    connections = reading.connections(page.as_of) if page.principal.may("read") else []
    notices = [
        *warnings(connections, billed, models), *_stray_jobs(page), *_retirements(page), *_over_budget(page, names)
    ]  # fmt: skip
    notices.sort(key=lambda one: one.tone != "bad")
    query = VersionQuery(states=MOVING, order="newest", limit=MOVING_SHOWN)
    moving, more = page.versions(query)
    return page.html(
        "overview.html",
        models=sorted(models, key=_interest)[:MODELS_SHOWN],
        models_total=len(models),
        billed=billed[:BILLED_SHOWN],
        billed_total=len(billed),
        oldest=min((one.billed_from for one in billed if one.billed_from), default=None),
        rates=serving.rates(billed),
        moving=moving,
        more_moving=more,
        connections=connections,
        warnings=notices[:WARNINGS_SHOWN],
        warnings_total=len(notices),
        recent=recent(page) if page.principal.may("read") else [],
    )


def _interest(model: ModelView) -> tuple[bool, bool, str]:
    return not model.moving, model.active is None, model.model


def warnings(
    connections: Sequence[ConnectionView], billed: Sequence[DeploymentView], models: Sequence[ModelView]
) -> list[Notice]:
    told = [
        Notice(tone="bad", title=f"Connection {one.name} does not answer", text=one.error)
        for one in connections
        if one.error
    ]
    told += [
        Notice(
            tone="bad", title=f"{one.ref}: a deployment failed", text=one.error or "It may be billed until it is gone.",
            path=f"/models/{one.model}/{one.version}/deployment",
        )
        for one in billed
        if one.state == "failed"
    ]  # fmt: skip
    told += [
        Notice(
            tone="bad", title=f"{one.ref}: its deployment serves another model",
            text=f"Somebody changed {one.name} past the registry: it serves {one.other_artifact}.",
            path=f"/models/{one.model}/{one.version}/deployment",
        )
        for one in billed
        if one.other_artifact is not None
    ]  # fmt: skip
    return [*told, *_idle(billed, models), *_budgets(billed, models)]


def _idle(billed: Sequence[DeploymentView], models: Sequence[ModelView]) -> Iterable[Notice]:
    """Billed for a version that is neither active nor on its way there."""
    wanted = {one.active for one in models} | {ref for one in models for ref in one.moving}
    by_model: dict[str, list[DeploymentView]] = {}
    for one in billed:
        if one.ref not in wanted and one.state == "serving" and one.hourly_rate != 0:
            by_model.setdefault(one.model, []).append(one)
    for model, idle in by_model.items():
        if len(idle) > IDLE_TOLD:
            rates = " and ".join(f"{one.hourly:.2f} {one.currency}" for one in serving.rates(idle))
            yield Notice(
                tone="warn", title=f"{len(idle)} deployments of {model or 'no model'} are billed but not active",
                text=f"At {rates} an hour in all.",
                path="/deployments",
            )  # fmt: skip
            continue
        for one in idle:
            yield Notice(
                tone="warn", title=f"{one.ref} is billed but not active",
                text=f"{actor_name(one.requested_by)}: {one.reason or 'no reason given'}",
                path=f"/models/{one.model}/{one.version}/deployment",
            )  # fmt: skip


def _budgets(billed: Sequence[DeploymentView], models: Sequence[ModelView]) -> Iterable[Notice]:
    for model in models:
        limit = model.policy.get("max_hourly_cost")
        if limit is None:
            continue
        spent = sum((one.hourly_rate or Decimal(0) for one in billed if one.model == model.model), Decimal(0))
        if spent >= Decimal(str(limit)) * NEAR_LIMIT:
            yield Notice(
                tone="warn", title=f"{model.model} is near its hourly limit",
                text=f"It runs at {spent} an hour of {limit} that its policy allows.", path=f"/models/{model.model}",
            )  # fmt: skip


def _stray_jobs(page: Page) -> Iterable[Notice]:
    if not page.principal.may("read"):
        return
    position = page.registry.reading.position(page.as_of)
    for connection in page.registry.log.connections(at=position):
        for job in connection.orphan_jobs:
            yield Notice(
                tone="bad", title=f"A training job at {connection.name} is nobody's",
                text=f"{job.name} runs and spends money, and no version here knows it.",
                path="/deployments",
            )  # fmt: skip


def _retirements(page: Page) -> Iterable[Notice]:
    """Active versions whose base model is taken away soon, or has been."""
    query = VersionQuery(states=frozenset({"active"}), limit=ACTIVE_SEARCHED)
    for one in page.versions(query)[0]:
        if one.retires_on is None:
            continue
        left = retirement.days_left(one.retires_on, page.now)
        if left <= retirement.WARNED_DAYS[-1]:
            when = f"in {left} day{'s' if left != 1 else ''}" if left > 0 else "now"
            yield Notice(
                tone="bad" if left <= retirement.WARNED_DAYS[0] else "warn",
                title=f"{one.ref} stops {when}",
                text=f"Its provider takes {one.base_model} away on {one.retires_on.isoformat()}. Fine-tune"
                f" {one.model} from another base model, and activate that version before.",
                path=f"/models/{one.model}/{one.version}",
            )


def _over_budget(page: Page, names: set[str]) -> Iterable[Notice]:
    """Models that have cost more this month than their policy says."""
    month = f"{page.now:%Y-%m}"
    for one in page.registry.log.models(at=page.at):
        if one.over_budget == month and one.name in names:
            limit = one.policy.get("max_monthly_cost", "its limit")
            yield Notice(
                tone="bad", title=f"{one.name} is over its budget for {month}",
                text=f"It has cost more than {limit}. Nothing is cut off; nothing new that is billed is begun.",
                path=f"/models/{one.name}",
            )  # fmt: skip


def recent(page: Page) -> list[Entry]:
    """The last things that happened, newest first."""
    log = page.registry.log
    until = log.head() if page.at is None else min(page.at, log.head())
    events = [EventView.of(event) for event in log.read(after=max(0, until - 2 * RECENT_SHOWN), until=until)]
    told = [one for one in events if one.type != "version-numbered"]
    entries = [entry for group in grouped(told) for entry in group.entries]
    return sorted(entries, key=lambda one: -one.event.position)[:RECENT_SHOWN]


def models(page: Page) -> Response:
    """All models, a page at a time, or those whose names hold what was asked for."""
    wanted = (page.query("q") or "").strip().lower()
    found = [one for one in page.readable(page.registry.reading.models(page.as_of)) if wanted in one.model]
    found.sort(key=lambda one: one.model)
    after = page.query("after")
    rest = [one for one in found if after is None or one.model > after]
    return page.html(
        "models.html",
        models=rest[:MODELS_PER_PAGE],
        total=len(found),
        wanted=wanted,
        next=rest[MODELS_PER_PAGE - 1].model if len(rest) > MODELS_PER_PAGE else None,
    )
