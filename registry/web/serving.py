"""Deployments as the pages need them: few at a time, and up to the time that is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from registry.application.ports import DeploymentQuery
from registry.application.reading import deployment_view
from registry.application.views import DeploymentView
from registry.domain.deploying import GONE
from registry.domain.ids import VersionRef
from registry.domain.ledger import MICROSECOND
from registry.web.page import Page

EVENTS_SEARCHED = 5_000
EVENTS_AT_ONCE = 500
GONE_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What is billed at one moment, in one currency. `unpriced`: how many have no known price."""

    currency: str
    hourly: Decimal
    unpriced: int
    count: int


def billed(page: Page, model: str | None = None) -> list[DeploymentView]:
    """What is billed at the time that is shown, the dearest first."""
    found = page.registry.log.billed(from_=page.now - MICROSECOND, to=page.now, at=page.at)
    views = [deployment_view(one.deployment, page.now) for one in found]
    mine = [one for one in views if one.billed and model in {None, one.model}]
    return sorted(mine, key=lambda one: -(one.hourly_rate or Decimal(0)))


def of_version(page: Page, ref: VersionRef) -> list[DeploymentView]:
    """All that a version ever had, oldest request first."""
    query = DeploymentQuery(model=ref.model, version=ref.number)
    return [deployment_view(one, page.now) for one in page.registry.log.deployments(query, at=page.at)]


def live(page: Page) -> list[DeploymentView]:
    """Those not yet seen gone: what is billed first, the dearest first."""
    found = page.registry.log.deployments(DeploymentQuery(live=True), at=page.at)
    views = [deployment_view(one, page.now) for one in found]
    return sorted(views, key=lambda one: (not one.billed, -(one.hourly_rate or Decimal(0))))


def gone_lately(page: Page) -> list[DeploymentView]:
    """The last that were seen gone, newest first: as far as the end of the log tells, however many there ever were."""
    log = page.registry.log
    head = log.head() if page.at is None else page.at
    ended: dict[str, None] = {}
    for until in range(head, max(0, head - EVENTS_SEARCHED), -EVENTS_AT_ONCE):
        found = [
            event.stream.partition(":")[2]
            for event in log.read(after=max(0, until - EVENTS_AT_ONCE), until=until)
            if event.type in {"deployment-deleted", "deployment-lost"}
        ]
        ended.update(dict.fromkeys(reversed(found)))
        if len(ended) >= GONE_SHOWN:
            break
    states = [log.deployment(one, at=page.at) for one in list(ended)[:GONE_SHOWN]]
    return [deployment_view(one, page.now) for one in states if one is not None and one.state in GONE]


def rates(deployments: Iterable[DeploymentView]) -> list[Rate]:
    """By currency: amounts of two currencies are never added."""
    by_currency: dict[str, list[DeploymentView]] = {}
    for one in deployments:
        by_currency.setdefault(one.currency, []).append(one)
    return [
        Rate(
            currency=currency,
            hourly=sum((one.hourly_rate or Decimal(0) for one in some), Decimal(0)),
            unpriced=sum(one.hourly_rate is None for one in some),
            count=len(some),
        )
        for currency, some in sorted(by_currency.items())
    ]
