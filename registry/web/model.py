"""One model: its versions, their curves beside one another, its policy in words, and the way back."""

from __future__ import annotations

from starlette.responses import Response

from registry.application.ports import VersionQuery
from registry.application.views import MetricView, VersionView
from registry.domain.errors import TenureError
from registry.domain.ids import VersionRef
from registry.web import serving
from registry.web.charts import LossChart, loss_chart
from registry.web.page import Page
from registry.web.words import policy_sentences

VERSIONS_PER_PAGE = 25
COMPARED_MAX = 6
RETIRED_SEARCHED = 50
STATES = ("queued", "training", "trained", "deploying", "active", "retired", "failed", "cancelled", "deleted")


def model(page: Page) -> Response:
    reading = page.registry.reading
    name = page.request.path_params["model"]
    view = reading.model(name, page.as_of)
    state = page.query("state")
    query = VersionQuery(
        model=name,
        states=frozenset({state} if state in STATES else ()),
        limit=VERSIONS_PER_PAGE,
        after=page.query("cursor"),
    )
    versions, cursor = reading.versions(query, page.as_of)
    chosen = _chosen(page, versions, view.active)
    active = reading.version(VersionRef.parse(view.active), page.as_of) if view.active else None
    deployments = serving.billed(page, name)
    return page.html(
        "model.html",
        model=view,
        active=active,
        versions=versions,
        cursor=cursor,
        state=state,
        states=STATES,
        chosen=chosen,
        chart=compared(page, name, chosen),
        policy=policy_sentences(view.policy),
        plan=[] if page.past else page.registry.reconciler.policy_plan(name),
        rollback=None if page.past else rollback(page, name),
        rates=serving.rates(deployments),
    )


def _chosen(page: Page, versions: list[VersionView], active: str | None) -> list[int]:
    """The versions to compare: those asked for, else the active one and the two newest that have figures."""
    asked = [int(one) for one in page.request.query_params.getlist("compare") if one.isascii() and one.isdigit()]
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
