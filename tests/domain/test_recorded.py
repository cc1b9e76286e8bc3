"""What a model's history holds that no policy decided, and what a policy did by itself."""

from __future__ import annotations

from registry.domain.recorded import record
from registry.domain.versions import Who
from tests.domain.histories import (
    TRAINED,
    Step,
    abandon,
    activate,
    approve,
    attached,
    delete,
    given,
    imported,
    lost,
    requested,
    undeploy,
)

POLICY = Who(actor="policy:keep-artifacts", reason="keep_artifacts = 0")


def happened(*steps: Step) -> list[tuple[str, str]]:
    return [(one.what, one.actor) for one in record(given(*steps).past.events).happenings]


def test_what_people_and_providers_did_would_have_met_any_policy() -> None:
    assert happened(
        *TRAINED, approve(approvals=1), attached(), lost(), activate(), requested(), abandon(), delete()
    ) == [
        ("trained", "provider:cloud"),
        ("approved", "user:ben"),
        ("attach", "user:ana"),
        ("lost", "provider:cloud"),
        ("activate", "user:ana"),
        ("deploy", "user:ana"),
        ("delete", "user:ana"),
    ]


def test_what_was_imported_counts_as_trained_and_says_so() -> None:
    (one,) = record(given(imported()).past.events).happenings
    assert (one.what, one.imported) == ("trained", True)
    (one,) = record(given(*TRAINED).past.events).happenings
    assert (one.imported, one.valid_loss) == (False, 1.0)


def test_what_a_policy_did_is_an_act_that_another_policy_need_not_repeat() -> None:
    steps = (*TRAINED, activate(who=POLICY), requested(who=POLICY), undeploy(who=POLICY), abandon(), delete(who=POLICY))
    assert happened(*steps) == [("trained", "provider:cloud")]
    acts = record(given(*steps).past.events).acts
    assert [what for _, what, *_ in acts] == ["activate", "deploy", "delete deployment", "delete version"]
    assert {actor for *_, actor, _ in acts} == {POLICY.actor}
