"""One version: where it stands, what can be done about it, and everything that happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from starlette.responses import Response

from registry.application.access import Action
from registry.application.ports import DeploymentQuery
from registry.application.reading import deployment_view
from registry.application.views import DeploymentView, VersionView
from registry.domain import ledger
from registry.domain.deploying import DEPLOYABLE, GONE
from registry.domain.errors import TenureError
from registry.domain.events import Price
from registry.domain.ids import VersionRef
from registry.domain.versions import COMMANDS
from registry.web import serving
from registry.web.charts import Bar, bars, loss_chart, time_marks
from registry.web.page import Page
from registry.web.timeline import grouped
from registry.web.words import ACTIVATED_AS_IT_IS, MOVE_WORDS, why_not

DANGEROUS = frozenset({"retire", "cancel", "delete"})
"""Commands that end something; they stand last."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AXIS_MIN = timedelta(minutes=1)
"""Shorter than this no time is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A command as the page offers it. `against`: why it is not open; None where it is."""

    command: str
    words: str
    follows: str
    against: str | None
    price: Price | None = None

    @property
    def dangerous(self) -> bool:
        return self.command in DANGEROUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What every tab of a version begins with."""

    version: VersionView
    deployments: tuple[DeploymentView, ...]
    live: tuple[DeploymentView, ...]
    price: Price | None
    """Of an hour of a new deployment; None where this provider needs none."""
    moves: tuple[Offer, ...]
    active: str | None
    policy: dict[str, object]


def ref_in(page: Page) -> VersionRef:
    params = page.request.path_params
    return VersionRef.parse(f"{params['model']}@{params['version']}")


def head(page: Page) -> Head:
    reading = page.registry.reading
    ref = ref_in(page)
    version = reading.version(ref, page.as_of)
    model = reading.model(ref.model, page.as_of)
    mine = serving.of_version(page, ref)
    price = hourly(page, version)
    live = tuple(one for one in mine if one.state not in GONE)
    return Head(
        version=version,
        deployments=tuple(mine),
        live=live,
        price=price,
        moves=tuple(_offers(page, version, live, price, int(str(model.policy["approvals"])))),
        active=model.active,
        policy=dict(model.policy),
    )


def hourly(page: Page, version: VersionView) -> Price | None:
    """What an hour of a new deployment of this version costs at most; None where nothing needs to be deployed."""
    try:
        connection = page.registry.reading.connection_state(version.connection)
        if page.registry.providers.of(connection).capabilities.serving == "none":
            return None
        return page.registry.commands.price(connection)
    except TenureError:
        return Price(hourly=None, currency="USD", source="its connection cannot be opened")


def _offers(
    page: Page, version: VersionView, live: tuple[DeploymentView, ...], price: Price | None, needed: int
) -> list[Offer]:
    """`needed`: how many approvals the model's policy asks for."""
    offers: list[Offer] = []
    serves = any(one.state == "serving" for one in live)
    for command in COMMANDS:
        words, follows = MOVE_WORDS[command]
        against = None if command in version.legal else why_not(version, command)
        asked = price if command == "activate" and not serves else None
        if command == "activate" and price is None:
            follows = ACTIVATED_AS_IT_IS
        offers.append(
            Offer(command=command, words=words, follows=follows, against=_asked(page, version, against), price=asked)
        )
    offers += _steering(page, version)
    if needed:
        against = (
            f"{page.principal.actor} has approved it already" if page.principal.actor in version.approvals else None
        )
        given = f"{len(version.approvals)} of {needed} approvals are given. Yours does not count when you activate it."
        gone = "it is deleted" if version.state == "deleted" else None
        offers.append(
            Offer(
                command="approve",
                words="Approve",
                follows=given,
                against=_asked(page, version, gone or against, "approve"),
            )
        )
    return sorted(offers, key=lambda one: one.dangerous)


def _steering(page: Page, version: VersionView) -> list[Offer]:
    """Pause and resume, where the provider can."""
    if version.state != "training" or not _can(page, version, "pause"):
        return []
    command = "resume" if version.job is not None and version.job.status == "paused" else "pause"
    words, follows = MOVE_WORDS[command]
    return [Offer(command=command, words=words, follows=follows, against=_asked(page, version, None))]


def _can(page: Page, version: VersionView, what: Literal["pause", "checkpoints"]) -> bool:
    try:
        connection = page.registry.reading.connection_state(version.connection)
        return getattr(page.registry.providers.of(connection).capabilities, what)
    except TenureError:
        return False


def _asked(page: Page, version: VersionView, against: str | None, action: Action = "develop") -> str | None:
    return page.against(action, version.model) or against


def timeline(page: Page) -> Response:
    top = head(page)
    history = page.registry.reading.history(top.version.ref, page.as_of)
    return page.html("version_timeline.html", top=top, tab="timeline", groups=grouped(history), count=len(history))


def training(page: Page) -> Response:
    top = head(page)
    ref = VersionRef.parse(top.version.ref)
    curves = [(top.version.ref, page.curves(ref))]
    if top.active is not None and top.active != top.version.ref:
        curves.append((top.active, page.curves(VersionRef.parse(top.active))))
    return page.html(
        "version_training.html",
        top=top,
        tab="training",
        chart=loss_chart(curves),
        curves=curves[0][1],
        checkpoints=page.registry.jobs.checkpoints(ref) if page.query("checkpoints") and not page.past else None,
        has_checkpoints=not page.past and top.version.job is not None and _can(page, top.version, "checkpoints"),
        state=page.registry.reading.version_state(ref, page.at),
    )


def deployment(page: Page) -> Response:
    top = head(page)
    return page.html(
        "version_deployment.html",
        top=top,
        tab="deployment",
        deployments=list(reversed(top.deployments)),
        deploy=_deploy_offer(page, top),
        protected=_protected(top),
    )


def _deploy_offer(page: Page, top: Head) -> Offer:
    """A standby: it serves, and is billed, without being active."""
    against = None
    if top.price is None:
        against = f"{top.version.provider} serves a tuned model as it is: there is nothing to deploy"
    elif top.version.state not in DEPLOYABLE:
        against = f"a version can be deployed once it is trained; this one is {top.version.state}"
    elif any(one.state in {"requested", "provisioning", "serving"} for one in top.live):
        against = "it has a deployment already"
    return Offer(
        command="deploy", words="Deploy as a standby", against=_asked(page, top.version, against), price=top.price,
        follows="It serves without being active. It is billed from the moment the provider accepts it, used or not.",
    )  # fmt: skip


def _protected(top: Head) -> str | None:
    """The deployment that may not be deleted by hand, because the active version has no other."""
    serving = [one.id for one in top.live if one.state == "serving"]
    return serving[0] if top.version.state == "active" and len(serving) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A deployment with its billed spans, as bars over the axis of all."""

    deployment: DeploymentView
    cost: Decimal | None
    bars: tuple[Bar, ...]


def cost(page: Page) -> Response:
    """What one version has cost: of its own deployments and training alone, however long the log is."""
    top = head(page)
    ref = ref_in(page)
    log, now = page.registry.log, page.now
    states = log.deployments(DeploymentQuery(model=ref.model, version=ref.number), at=page.at)
    charged = [(one, ledger.charges(one, from_=EPOCH, to=now)) for one in states]
    spans_of = [span for _, some in charged for span in some]
    start = min((one.from_ for one in spans_of), default=now)
    end = max([start + AXIS_MIN, *(one.to for one in spans_of)])
    rows = [
        Served(
            deployment=deployment_view(one, now),
            cost=ledger.total(span.cost for span in some),
            bars=tuple(bars(some, start, end)),
        )
        for one, some in charged
        if some
    ]
    state = page.registry.reading.version_state(ref, page.at)
    sums: dict[str, Decimal] = {}
    for currency, amount in [
        *((row.deployment.currency, row.cost) for row in rows),
        (state.training_currency or "USD", state.training_cost),
    ]:
        if amount is not None:
            sums[currency] = sums.get(currency, Decimal(0)) + amount
    return page.html(
        "version_cost.html",
        top=top,
        tab="cost",
        sums=sums,
        unpriced=sum(row.cost is None for row in rows),
        rows=rows,
        axis=time_marks(start, end),
        state=state,
    )
