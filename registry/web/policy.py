"""A model's policy: in words, what it does by itself, and a form that changes it once that was foretold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from registry.application.replaying import ReplayView
from registry.application.views import StepView
from registry.domain.errors import BadInputError
from registry.domain.events import Json
from registry.domain.ids import model_stream, whole_number
from registry.domain.policy import POLICY_DEFAULTS, Policy, policy_json
from registry.web.model import head, planned
from registry.web.page import Page
from registry.web.words import policy_sentences

REPLAYED_MAX = 500
"""Versions of a model whose whole history is replayed while somebody waits; of more, the command line does it."""
WHOLE = ("keep_artifacts", "approvals")
"""Rules that are whole numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A rule as the form asks for it. `choices`: (value, words); none where something is typed."""

    key: str
    label: str
    about: str = ""
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def mode(self) -> str:
        return "numeric" if self.key in WHOLE else "decimal" if self.key.startswith("max_") else "text"


FIELDS = (
    Field(key="deploy", label="Deploy", choices=(
        ("on-activate", "when a version is activated"), ("on-trained", "as soon as a version is trained"),
        ("manual", "only when somebody asks for it"))),
    Field(key="activate", label="Activate", choices=(
        ("manual", "people decide"), ("on-trained", "as soon as a version is trained"),
        ("if-better", "when its validation loss is better than the active one's"))),
    Field(key="superseded", label="Deployment of a version that is no longer active", choices=(
        ("delete", "delete it"), ("keep", "keep it"))),
    Field(key="superseded_grace", label="… and how long it stays first", about="such as 10m, 6h or 7d"),
    Field(key="idle_delete", label="Delete a standby that nobody called for", about="such as 7d; empty: never"),
    Field(key="keep_artifacts", label="Retired versions that keep their artifacts", about="empty: all"),
    Field(key="orphans", label="Deployments of ours that the registry does not know", choices=(
        ("report", "report them"), ("adopt", "adopt them"), ("delete", "delete them"))),
    Field(key="approvals", label="Approvals by others before activation", about="0: none"),
    Field(key="max_hourly_cost", label="Highest cost of an hour", about="such as 20.00; empty: no limit"),
    Field(key="max_monthly_cost", label="Highest cost of a month", about="such as 2000.00; empty: no limit"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What other rules would change: sentences that go and come, what would be done now, and what the past would have
    cost; None where that history is long.
    """

    rules: Mapping[str, str]
    gone: Sequence[str]
    new: Sequence[str]
    plan: Sequence[StepView]
    replayed: ReplayView | None


def policy(page: Page, review: Review | None = None) -> Response:
    name = page.request.path_params["model"]
    top = head(page, name)
    in_force = top["model"].policy
    own = page.registry.reading.model_state(name, page.at).policy
    shared = page.registry.log.registry(at=page.at).policy
    faults = _faults(_rules(page.form))
    return page.html(
        "model_policy.html",
        **top,
        tab="policy",
        sentences=policy_sentences(in_force),
        plan=planned(page, name),
        fields=FIELDS,
        values={**written(in_force), **page.form},
        faults=faults,
        first_fault=next(iter(faults), None),
        inherited=[key for key in shared if key not in own],
        refusal=page.against("administer", name),
        review=review,
        replayed_max=REPLAYED_MAX,
    )


def written(rules: Mapping[str, object]) -> dict[str, str]:
    """As a form holds them: no limit is nothing."""
    return {key: "" if value is None else str(value) for key, value in rules.items()}


def _rules(form: Mapping[str, str]) -> dict[str, object]:
    """What a form says; a rule that it does not name is left alone."""
    found: dict[str, object] = {}
    for key, default in POLICY_DEFAULTS.items():
        text = form.get(key, "").strip()
        if key not in form:
            continue
        whole = whole_number(text) if key in WHOLE else None
        found[key] = whole if whole is not None else None if not text and default is None else text
    return found


def _faults(rules: Mapping[str, object]) -> dict[str, str]:
    """What is wrong with each, by its key."""
    found: dict[str, str] = {}
    for key, value in rules.items():
        try:
            Policy.of({key: value})
        except BadInputError as error:
            found[key] = error.message
    return found


def change(page: Page) -> Response:
    """Show what other rules would do; or, when that was seen, set them."""
    name = page.request.path_params["model"]
    page.principal.check("administer", name)
    rules = _rules(page.form)
    faults = _faults(rules)
    if faults:
        raise BadInputError("nothing is changed: beside each rule stands what is wrong", field=next(iter(faults)))
    in_force = written(page.registry.reading.policy(name))
    changed = {key: value for key, value in rules.items() if written({key: value})[key] != in_force[key]}
    if page.form.get("intent") != "save":
        return policy(page, _review(page, name, changed))
    seen = whole_number(page.form.get("seen", ""))
    expected: dict[str, int] = {model_stream(name): seen} if seen is not None else {}
    page.registry.declaring.set_policy(name, changed, page.who(page.form.get("reason")), expected)
    return page.go(f"/models/{name}/policy", said="policy")


def _review(page: Page, model: str, changed: Mapping[str, object]) -> Review:
    view = page.registry.reading.model(model)
    own: Json = {**page.registry.reading.model_state(model).policy, **changed}
    old, new = (policy_sentences(one) for one in (view.policy, policy_json(changed, view.policy)))
    return Review(
        rules=written(changed),
        gone=[one for one in old if one not in new],
        new=[one for one in new if one not in old],
        plan=page.registry.reconciler.foretell(model, rules=own),
        replayed=page.registry.replaying.replay(model, own) if view.versions <= REPLAYED_MAX else None,
    )
