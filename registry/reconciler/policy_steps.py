"""Steps that a policy takes by itself: adopt an orphan, let go of an old artifact, tell that a budget is exceeded.

Each is decided again on what is so when it is recorded, and names its policy and its reason in the event.
"""

from __future__ import annotations

from collections.abc import Callable

from registry.application.unit import Command, Unit
from registry.domain import budget, sweeping, versions
from registry.domain import events as ev
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef, model_stream
from registry.domain.plan import Action, Step
from registry.domain.versions import Who, ref_of
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.performing import Done, Waiting


class PolicySteps(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.performers: dict[Action, Callable[[Step], Done]] = {
            Action.ADOPT: self.adopt,
            Action.REQUEST_VERSION_DELETION: self.delete_version,
            Action.CHECK_BUDGET: self.check_budget,
        }

    def adopt(self, step: Step) -> Done:
        """After the provider has shown once more that it serves."""
        orphan = step.deployment
        assert orphan is not None
        assert orphan.suspected is not None
        report = self._provider(orphan.connection).deployments.get(orphan.provider_id or orphan.name)
        if report is None or report.outcome != "serving":
            return Waiting("it does not serve" if report else "not shown")
        who = Who(actor=step.actor, reason=step.why)
        ref = VersionRef.parse(orphan.suspected)

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            current, version = unit.deployment(orphan.id), unit.version(ref)
            if current is None or version is None:
                return [], {}
            return sweeping.adopt(current, version, who), {}

        try:
            self._door.run(Command(name="adopt", body={"id": orphan.id}, who=who), decide, because=orphan)
        except RefusedError as refusal:
            return Waiting(refusal.message)
        return f"it is a standby of {ref}"

    def delete_version(self, step: Step) -> Done:
        assert step.version is not None
        ref = ref_of(step.version)
        who = Who(actor=step.actor, reason=step.why)

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            version = unit.version(ref)
            if version is None or version.state != "retired":
                return [], {}
            return versions.delete(version, who), {}

        self._door.run(Command(name="keep-artifacts", body={"ref": str(ref)}, who=who), decide, because=step.version)
        return None

    def check_budget(self, step: Step) -> Done:
        """Told once a month; what serves is not cut off."""
        assert step.model is not None
        name = step.model
        policy, spending = self._commands.limits.spending(name)
        spent = budget.exceeded(policy, spending)
        month = budget.month_name(spending.now)
        limit = policy.max_monthly_cost
        if spent is None or limit is None:
            return Waiting()
        who = Who(actor=step.actor, reason=f"{step.why}, and {spent.quantize(budget.CENT)} is spent in {month}")
        currency = next((one.currency for one in spending.live), "USD")

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            model = unit.model(name)
            if model is None or model.over_budget == month:
                return [], {}
            told = ev.BudgetExceeded(model=name, month=month, limit=limit, spent=spent, currency=currency)
            return [who.says(model_stream(name), told)], {}

        appended = self._door.run(Command(name="budget", body={"model": name}, who=who), decide).appended
        return Waiting(who.reason if appended is not None else None)
