"""One event by its position: the address that people send one another."""

from __future__ import annotations

from starlette.responses import Response

from registry.application.views import EventView
from registry.domain.errors import NotFoundError
from registry.domain.ids import parse_ref
from registry.web.page import Page
from registry.web.timeline import Group, grouped

NEAR = 250
"""How many events before and after one are searched for what belongs to it."""
AROUND = 25
"""How many of those are shown before and after it."""


def event(page: Page) -> Response:
    position = page.request.path_params["position"]
    found = next(iter(page.registry.log.read(after=position - 1, until=position)), None) if position else None
    if found is None:
        raise NotFoundError(f"there is no event {position}", hint=f"the log ends at {page.registry.log.head()}")
    view = EventView.of(found)
    model = model_of(page, view)
    page.principal.check("read", model)
    group = _group(page, view)
    return page.html(
        "event.html",
        event=view,
        entry=next(one for one in group.entries if one.event.position == position),
        groups=[group] if len(group.entries) > 1 else [],
        back=_history(page, view),
        before=position - 1,
        after=position + 1 if position < page.registry.log.head() else None,
    )


def _group(page: Page, event: EventView) -> Group:
    """What the same command led to, as far as it stands near the event, at models that whoever asks may see."""
    head = page.registry.log.head() if page.at is None else max(page.at, event.position)
    near = page.registry.log.read(after=max(0, event.position - NEAR), until=min(event.position + NEAR, head))
    same = (EventView.of(one) for one in near if one.correlation_id == event.correlation_id)
    (group,) = grouped(one for one in same if page.principal.may("read", model_of(page, one)))
    return group


def model_of(page: Page, event: EventView) -> str | None:
    """The model that an event belongs to; None for the registry's and the connections' own."""
    kind, _, name = event.stream.partition(":")
    if kind == "deployment":
        return page.registry.reading.deployment(name).model
    return parse_ref(name)[0] if kind in {"model", "version"} else None


def _history(page: Page, event: EventView) -> tuple[str, str] | None:
    """Where the event stands among the others: (words, path)."""
    kind, _, name = event.stream.partition(":")
    if kind == "deployment":
        owner = page.registry.reading.deployment(name)
        return owner.ref, f"/models/{owner.model}/{owner.version}#e{event.position}"
    if kind == "version":
        model, number = parse_ref(name)
        return name, f"/models/{model}/{number}#e{event.position}"
    return (name, f"/models/{name}/history?before={event.position + 1}#e{event.position}") if kind == "model" else None
