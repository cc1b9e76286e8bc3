"""Adopting strays, and taking up again what came back: what is refused, and what is so already."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from providers.ports import DeploymentReport
from registry.domain import sweeping
from registry.domain.errors import RefusedError
from registry.domain.events import OrphanAdopted, Price
from registry.domain.states import ConnectionState, DeploymentState, Foreign, VersionState
from registry.domain.versions import Who

WHO = Who(actor="policy:adopt-orphans")
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def orphan(**changes: object) -> DeploymentState:
    known: dict[str, object] = {
        "id": "dep_1",
        "connection": "cloud",
        "state": "serving",
        "orphan": True,
        "artifact_id": "ft:1",
    }
    return DeploymentState(**{**known, **changes})  # pyright: ignore[reportArgumentType] - the caller knows the fields


def version(**changes: object) -> VersionState:
    known: dict[str, object] = {
        "model": "bot",
        "version": 1,
        "connection": "cloud",
        "state": "trained",
        "artifact_id": "ft:1",
    }
    return VersionState(**{**known, **changes})  # pyright: ignore[reportArgumentType] - the caller knows the fields


def report(**changes: object) -> DeploymentReport:
    known: dict[str, object] = {"id": "srv-1", "name": "tenure-x", "status": "Succeeded", "outcome": "serving"}
    return DeploymentReport(**{**known, **changes})  # pyright: ignore[reportArgumentType] - the caller knows the fields


def test_what_is_shown_in_another_case_is_what_was_known_and_no_second_one() -> None:
    """As Azure does with resource groups; a duplicate would be deleted."""
    known = orphan(orphan=False, provider_id="/resourceGroups/rg/Dep", name="Dep")
    stranger = Foreign(provider_id="/resourceGroups/rg/Other", name="Other", status="Succeeded")
    connection = ConnectionState(name="cloud", provider="azure-openai", foreign=(stranger,))
    shown = [report(id="/resourcegroups/RG/dep", name="dep", ours=True), report(id="/resourcegroups/RG/other")]
    found = sweeping.compare(connection, [known], shown)
    assert [owner.id for owner, _ in found.present] == ["dep_1"]
    assert (found.orphans, found.missing, found.foreign, found.foreign_gone) == ((), (), (), ())
    elsewhere = sweeping.compare(connection, [], shown[:1], elsewhere=[known])
    assert elsewhere.orphans == ()


def test_an_orphan_is_adopted_by_the_version_whose_artifact_it_serves() -> None:
    (event,) = sweeping.adopt(orphan(), version(), WHO)
    assert isinstance(event.payload, OrphanAdopted)
    assert (event.stream, event.payload.version, event.payload.artifact.id) == ("deployment:dep_1", 1, "ft:1")


def test_what_has_an_owner_needs_no_other() -> None:
    assert sweeping.adopt(orphan(orphan=False), version(), WHO) == []


@pytest.mark.parametrize(
    ("stray", "owner", "why"),
    [
        (orphan(state="deleting"), version(), "dep_1 is deleting: it cannot be adopted"),
        (orphan(), version(state="queued"), "bot@1 is queued: nothing can be adopted for it"),
        (orphan(), version(deletion_requested=True), "bot@1 is trained: nothing can be adopted for it"),
        (orphan(), version(artifact_id=None), "bot@1 is trained: nothing can be adopted for it"),
        (orphan(artifact_id="ft:2"), version(), "dep_1 does not serve bot@1's artifact"),
        (orphan(connection="elsewhere"), version(), "dep_1 does not serve bot@1's artifact"),
    ],
)
def test_an_orphan_that_does_not_fit_is_not_adopted(stray: DeploymentState, owner: VersionState, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        sweeping.adopt(stray, owner, WHO)


def test_only_what_was_believed_gone_can_reappear() -> None:
    assert sweeping.reappeared(orphan(state="deleting"), report(), WHO) == []
    (event,) = sweeping.reappeared(orphan(state="deleted"), report(), WHO)
    assert event.stream == "deployment:dep_1"


@pytest.mark.parametrize(("created_at", "billed_from"), [(None, NOW), (datetime(2030, 1, 1, tzinfo=UTC), NOW)])
def test_an_orphan_is_billed_from_when_it_was_made_and_never_from_the_future(
    created_at: datetime | None, billed_from: datetime
) -> None:
    (event,) = sweeping.orphan_found(
        ConnectionState(name="cloud", provider="azure-openai"),
        report(created_at=created_at),
        price=Price(hourly=Decimal(1), currency="USD", source="test"),
        suspected=None,
        duplicate_of=None,
        now=NOW,
        who=WHO,
    )
    assert getattr(event.payload, "billed_from", None) == billed_from
