"""One request for a page: which time it shows, who asks, and how its links are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from registry.application.access import Action, Principal, refusal
from registry.application.ports import VersionQuery
from registry.application.reading import within_calendar
from registry.application.views import DeploymentView, MetricView, ModelView, VersionView
from registry.composition import Registry
from registry.domain.errors import BadInputError, TenureError
from registry.domain.ids import VersionRef, whole_number
from registry.domain.versions import Who
from registry.web.templating import environment

SAID: Mapping[str, str] = {
    "fine-tune": "The fine-tune is queued. Its loss is drawn here as soon as the first figures come.",
    "activate": "Activation asked for. It takes over as soon as it has answered a probe.",
    "retire": "Retired. Its deployment goes by policy.",
    "cancel": "Cancelled. The job at the provider is being stopped.",
    "pause": "The job is asked to pause.",
    "resume": "The job goes on.",
    "retry": "Queued again, as another attempt.",
    "approve": "Your approval is recorded.",
    "delete": "Deletion asked for: deployments go first, then the artifact.",
    "deploy": "Deployment asked for. It is billed from the moment the provider accepts it.",
    "attach": "Attached: from now on the registry watches it and counts its cost.",
    "undeploy": "Deletion asked for. It counts as billed until repeated reads no longer show it.",
    "policy": "The policy is changed.",
}
"""What a page says after a command, by the command's name in the address: nobody can put other words there."""
KEPT = frozenset({"from", "to", "state", "compare", "q"})
"""What of an address is kept where the same page is shown at another time: what was chosen, not how far was paged."""


@dataclass(slots=True, kw_only=True)
class Page:
    """`as_of` is a position or an ISO 8601 time, as it stands in links; None: now. `now` is the time that is shown.

    `path` is the page's own address, also where it answers a form that was sent to another.
    """

    request: Request
    path: str
    registry: Registry
    principal: Principal
    as_of: str | None
    at: int | None
    now: datetime
    problem: TenureError | None = None
    form: Mapping[str, str] = field(default_factory=dict[str, str])
    """What was sent, to fill the form again beside the problem."""

    @property
    def past(self) -> bool:
        return self.as_of is not None

    def who(self, reason: str | None = None) -> Who:
        return Who(actor=self.principal.actor, reason=reason or None)

    def against(self, action: Action, model: str | None = None) -> str | None:
        """Why whoever asks may not do this here; None where they may."""
        if self.past:
            return "this page shows the past"
        return None if self.principal.may(action, model) else refusal(self.principal, action, model).hint

    def check_read(self) -> None:
        """A page of one model needs the right to read that one, lists to read any. Raises NotAllowedError."""
        model = self.request.path_params.get("model")
        if model is not None or not self.principal.may_somewhere("read"):
            self.principal.check("read", model)

    def readable(self, models: Iterable[ModelView]) -> list[ModelView]:
        return [one for one in models if self.principal.may("read", one.model)]

    def visible(self, deployments: Iterable[DeploymentView]) -> list[DeploymentView]:
        """Those of no model are for whoever may see every model."""
        return [one for one in deployments if self.principal.may("read", one.model or None)]

    def versions(self, query: VersionQuery) -> tuple[list[VersionView], bool]:
        """Those that whoever asks may see, and whether there are more; `query` is about all models."""
        reading = self.registry.reading
        mine = [query] if self.principal.may("read") else [
            replace(query, model=one.model) for one in self.readable(reading.models(self.as_of))
        ]  # fmt: skip
        pages = [reading.versions(one, self.as_of) for one in mine]
        found = [version for some, _ in pages for version in some]
        return found[: query.limit], len(found) > len(found[: query.limit]) or any(more for _, more in pages)

    def curves(self, ref: VersionRef) -> list[MetricView]:
        """The loss points that were known at the time that is shown."""
        return self.registry.reading.metrics(ref, self.as_of)

    def link(self, path: str, **query: object) -> str:
        """A link that stays in the time that is shown."""
        given = {key: value for key, value in {"as_of": self.as_of, **query}.items() if value is not None}
        base, hash_, fragment = path.partition("#")
        joiner = "&" if "?" in base else "?"
        joined = f"{base}{joiner}{urlencode(given, doseq=True)}" if given else base
        return joined + hash_ + fragment

    def kept(self) -> list[tuple[str, str]]:
        """What was chosen on this page, for the same at another time."""
        return [(key, value) for key, value in self.request.query_params.multi_items() if key in KEPT]

    def at_time(self, as_of: str | None) -> str:
        """This page, as it was at another time; None: as it is now."""
        query = urlencode([*self.kept(), *([("as_of", as_of)] if as_of else [])])
        return f"{self.path}?{query}" if query else self.path

    def query(self, name: str) -> str | None:
        """A parameter of the address; None where it is missing or empty."""
        return self.request.query_params.get(name) or None

    def shortcuts(self) -> list[tuple[str, str]]:
        """Times that people ask for: (words, as_of)."""
        midnight = self.registry.clock().replace(hour=0, minute=0, second=0, microsecond=0)
        month = midnight.replace(day=1)
        times = [
            ("An hour ago", self.registry.clock() - timedelta(hours=1)),
            ("Start of today", midnight),
            ("A week ago", midnight - timedelta(days=7)),
            ("End of last month", month - timedelta(seconds=1)),
        ]
        return [(words, written(time)) for words, time in times]

    def html(self, template: str, *, status: int | None = None, **values: object) -> HTMLResponse:
        said = self.query("said")
        text = (
            environment()
            .get_template(template)
            .render(
                page=self,
                path=self.path,
                said=SAID.get(said) if said else None,
                head=self.registry.log.head(),
                **values,
            )
        )
        if status is None:
            status = self.problem.status if self.problem else 200
        return HTMLResponse(text, status_code=status)

    def go(self, path: str, said: str) -> Response:
        """After a command: see the page, which says what was asked for."""
        base, hash_, fragment = path.partition("#")
        return RedirectResponse(f"{base}?{urlencode({'said': said})}{hash_}{fragment}", status_code=303)


def written(time: datetime) -> str:
    """A time as links write it: `2026-11-22T20:10:00Z`."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def asked_time(text: str | None) -> str | None:
    """The as_of of an address. A time without a zone, as the browser's own field gives it, is UTC."""
    if not text:
        return None
    if whole_number(text) is not None:
        return text
    try:
        time = datetime.fromisoformat(text)
        return written(within_calendar(time if time.tzinfo else time.replace(tzinfo=UTC)))
    except ValueError:
        raise BadInputError(
            f"as_of = {text!r} is neither a position (an integer) nor an ISO 8601 time", field="as_of"
        ) from None
