"""What follows from the end of a training or from an approval: in the same append, what the policy, or the one who
asked, wants next.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

from registry.application.commands.deployments import Deployments
from registry.application.commands.moves import Moves
from registry.application.unit import Unit
from registry.domain import events as ev
from registry.domain import versions
from registry.domain.activating import by_policy, loss_of
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, version_stream
from registry.domain.policy import Policy
from registry.domain.states import VersionState
from registry.domain.versions import Who, ref_of

logger = logging.getLogger("tenure.policy")

DEPLOYER = Who(actor="policy:deploy-on-trained", reason="deploy = on-trained")


class Finishing(Moves, Deployments):
    def approve(
        self, ref: VersionRef, who: Who, key: str | None = None, expected: Mapping[str, int] | None = None
    ) -> None:
        """One person's word for an activation. The last one that an automatic activation waited for lets it happen."""

        def decide(unit: Unit) -> tuple[Sequence[NewEvent], dict[str, object]]:
            return self._approved(unit, self._version(unit, ref), who), {}

        with self.limits.money:
            self._run("approve", ref, decide, who, key, expected)

    def finished(self, unit: Unit, version: VersionState, result: versions.Finished, who: Who) -> list[NewEvent]:
        """The end of a job. An activation that is wanted and refused is recorded as abandoned, with the reason."""
        events = versions.finished(version, result, who)
        if version.state != "training" or result.outcome != "succeeded" or result.artifact is None:
            return events
        policy = self.limits.policy(self._model(unit, version.model))
        trained = dataclasses.replace(
            version, state="trained", artifact_id=result.artifact.id, artifact_digest=result.artifact.digest
        )
        if policy.deploy == "on-trained":
            events += self._wanted_standby(unit, trained)
        wish = self._wish(unit, version, policy, loss_of(result.metrics or {}))
        if wish is not None:
            events += self._wanted_activation(unit, trained, wish)
        return events

    def _approved(self, unit: Unit, version: VersionState, who: Who) -> Sequence[NewEvent]:
        policy = self.limits.policy(self._model(unit, version.model))
        events = versions.approve(version, policy, who)
        waited = (
            version.state == "trained" and version.activation_requested_at is None and not version.deletion_requested
        )
        if not events or not waited or policy.activate == "manual":
            return events
        now = dataclasses.replace(version, approvals=(*version.approvals, who.actor))
        wish = self._wish(unit, now, policy, loss_of(now.metrics))
        return events if wish is None else [*events, *self._wanted_activation(unit, now, wish)]

    def _wish(self, unit: Unit, version: VersionState, policy: Policy, loss: float | None) -> Who | None:
        """On whose word a version that has just been trained is activated, if on anyone's."""
        if version.activate_when_trained:
            return Who(actor=version.created_by, reason="asked for with --activate")
        active = self._model(unit, version.model).active
        wish = by_policy(policy, loss, None if active is None else unit.version(VersionRef(version.model, active)))
        return wish if wish is not None and len(versions.approvals(version, wish)) >= policy.approvals else None

    def _wanted_standby(self, unit: Unit, trained: VersionState) -> list[NewEvent]:
        try:
            return list(self.standby(unit, trained, DEPLOYER)[0])
        except RefusedError as refusal:
            logger.warning("%s is not deployed by policy: %s", ref_of(trained), refusal.message)
            return []

    def _wanted_activation(self, unit: Unit, trained: VersionState, wish: Who) -> list[NewEvent]:
        try:
            return list(self.activation(unit, trained, wish))
        except RefusedError as refusal:
            stream = version_stream(ref_of(trained))
            asked = ev.ActivationRequested(model=trained.model, version=trained.version)
            refused = ev.ActivationAbandoned(model=trained.model, version=trained.version, error=refusal.message)
            return [wish.says(stream, asked), wish.says(stream, refused)]
