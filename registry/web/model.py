"""One model: its versions, their curves beside one another, its policy in words, the way back, and its history."""

from __future__ import annotations

from typing import TypedDict

from starlette.responses import RedirectResponse, Response

from registry.application.ports import VersionQuery
from registry.application.views import EventView, MetricView, ModelView, StepView, VersionView
from registry.domain.errors import TenureError
from registry.domain.events import Event, Price
from registry.domain.ids import VersionRef, whole_number
from registry.web import serving
from registry.web.charts import LossChart, loss_chart
from registry.web.page import Page
from registry.web.timeline import grouped
from registry.web.version import hourly
from registry.web.words import policy_sentences

VERSIONS_PER_PAGE = 25
COMPARED_MAX = 6
EVENTS_PER_PAGE = 60
RETIRED_SEARCHED = 50
STATES = ("queued", "training", "trained", "deploying", "active", "retired", "failed", "cancelled", "deleted")


def model(page: Page) -> Response:
    reading = page.registry.reading
    name = page.request.path_params["model"]
    wanted = (page.query("version") or "").strip().removeprefix("@")
    if whole_number(wanted) is not None:
        return RedirectResponse(page.link(f"/models/{name}/{wanted}"), status_code=303)
    top = head(page, name)
    state = page.query("state")
    query = VersionQuery(
        model=name,
        states=frozenset({state} if state in STATES else ()),
        limit=VERSIONS_PER_PAGE,
        after=page.query("cursor"),
    )
    versions, cursor = reading.versions(query, page.as_of)
    chosen = _chosen(page, versions, top["model"].active)
    return page.html(
        "model.html",
        **top,
        tab="versions",
        versions=versions,
        cursor=cursor,
        many=top["model"].versions > VERSIONS_PER_PAGE,
        state=state,
        states=STATES,
        chosen=chosen,
        chart=compared(page, name, chosen),
        policy=policy_sentences(top["model"].policy),
        plan=planned(page, name),
    )


def planned(page: Page, model: str) -> list[StepView]:
    """What the policy does by itself at the time that is shown."""
    return page.registry.reconciler.policy_plan(model, None if page.at is None else (page.at, page.now))


class Head(TypedDict):
    """What every tab of a model begins with."""

    model: ModelView
    active: VersionView | None
    rollback: VersionView | None
    rollback_price: Price | None
    """Of an hour of the deployment that it would take; None where none has to be made."""
    rates: list[serving.Rate]


def head(page: Page, name: str) -> Head:
    reading = page.registry.reading
    view = reading.model(name, page.as_of)
    back = None if page.past else rollback(page, name)
    return Head(
        model=view,
        active=reading.version(VersionRef.parse(view.active), page.as_of) if view.active else None,
        rollback=back,
        rollback_price=_price(page, back),
        rates=serving.rates(serving.billed(page, name)),
    )


def _price(page: Page, back: VersionView | None) -> Price | None:
    if back is None:
        return None
    mine = serving.of_version(page, VersionRef(back.model, back.version))
    return None if any(one.state == "serving" for one in mine) else hourly(page, back)


def history(page: Page) -> Response:
    """What happened to a model, its versions and their deployments: the newest command first, a page at a time."""
    name = page.request.path_params["model"]
    top = head(page, name)
    asked = whole_number(page.query("before") or "")
    end = page.registry.log.head() if page.at is None else page.at
    before = min(asked, end + 1) if asked is not None else None
    events = _events_before(page, name, end + 1 if before is None else before)
    return page.html(
        "model_history.html",
        **top,
        tab="history",
        groups=list(reversed(grouped(EventView.of(one) for one in events if one.type != "version-numbered"))),
        before=before,
        older=events[0].position if len(events) == EVENTS_PER_PAGE else None,
    )


def _events_before(page: Page, name: str, before: int) -> list[Event]:
    """The last so many before a position, in order: from ever larger parts of the log until there are enough."""
    streams = page.registry.reading.streams(name, page.at)
    found: list[Event] = []
    until, size = before - 1, EVENTS_PER_PAGE * 4
    while until > 0 and len(found) < EVENTS_PER_PAGE:
        after = max(0, until - size)
        found = [*page.registry.log.read(streams=streams, after=after, until=until), *found]
        until, size = after, size * 4
    return found[-EVENTS_PER_PAGE:]


def _chosen(page: Page, versions: list[VersionView], active: str | None) -> list[int]:
    """The versions to compare: those asked for, else the active one and the two newest that have figures."""
    asked = [
        number for one in page.request.query_params.getlist("compare") if (number := whole_number(one)) is not None
    ]
    if asked:
        return list(dict.fromkeys(asked))[:COMPARED_MAX]
    shown = [one.version for one in versions if one.metrics or one.state == "training"][:2]
    if active is not None:
        shown.insert(0, VersionRef.parse(active).number)
    return sorted(set(shown), reverse=True)


def compared(page: Page, name: str, chosen: list[int]) -> LossChart | None:
    curves: list[tuple[str, list[MetricView]]] = []
    for number in chosen:
        try:
            curves.append((f"{name}@{number}", page.curves(VersionRef(name, number))))
        except TenureError:
            continue  # A number that no version has: somebody wrote the address by hand.
    return loss_chart(curves)


def rollback(page: Page, name: str) -> VersionView | None:
    """The version that was active before: of the retired ones, the last that retired."""
    query = VersionQuery(model=name, states=frozenset({"retired"}), limit=RETIRED_SEARCHED)
    retired, _ = page.registry.reading.versions(query)
    able = [one for one in retired if "activate" in one.legal and one.retired_at is not None]
    return max(able, key=lambda one: (one.retired_at is not None, one.retired_at), default=None)
