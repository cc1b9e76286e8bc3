"""Steps about deployments: request, create, look up, probe, switch, delete, verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from providers.errors import (
    ChatError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from providers.ports import Artifact, DeploymentReport, DeploymentRequest, Provider, ServingTarget
from registry.application.ports import Clock, EventLog
from registry.application.unit import Command, Unit
from registry.domain import deploying, versions
from registry.domain.errors import RefusedError
from registry.domain.events import NewEvent
from registry.domain.ids import VersionRef
from registry.domain.ledger import billed_since
from registry.domain.plan import Action, Step, still_wanted
from registry.domain.states import DeploymentState, VersionState
from registry.domain.versions import Who, ref_of
from registry.reconciler.idling import unsettled
from registry.reconciler.misses import Missed
from registry.reconciler.parts import Parts, Steps
from registry.reconciler.performing import DRAIN_MAX, Done, Looking, Waiting

SCHEDULER = Who(actor="scheduler")
PROBE_TIMEOUT_S = 120.0
PROVISIONING_MAX = timedelta(hours=2)
"""How long a deployment may take to answer: Azure takes minutes, Bedrock up to half an hour."""
FEW = 3
"""So many deployments are asked for one by one: a list shows everything else of the account, too."""
OVERTAKEN = "something else happened to it meanwhile"
PROBE = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
"""A real completion, as small as one can be: a deployment counts as serving when it has answered this."""


class DeploymentSteps(Steps):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._since = _now(parts.log, parts.clock)
        self._called: dict[str, datetime] = {}
        """When this process first sent each create."""
        self.performers: dict[Action, Callable[[Step], Done]] = {
            Action.REQUEST_DEPLOYMENT: self.request,
            Action.CREATE: self.create,
            Action.FIND_DEPLOYMENT: self.find,
            Action.SWITCH: self.switch,
            Action.ABANDON: self.abandon,
            Action.REQUEST_DELETION: self.request_deletion,
            Action.DELETE: self.delete,
            Action.VERIFY_DELETED: self.verify_deleted,
        }
        self.looking = Looking(look=self.look, record=self.record)

    def request(self, step: Step) -> Done:
        """The intent to deploy what is to become active; on the word of whoever asked for the activation."""
        version = _version(step)
        who = Who(actor=version.activation_requested_by or "scheduler", reason=version.activation_reason)
        try:
            return self._commands.request_for_activation(version, who)
        except RefusedError as refusal:
            return self._abandon(version, refusal.message)

    def create(self, step: Step) -> Done:
        """The create, once; asked again after a crash it is the same name and token."""
        deployment = _deployment(step)
        called_at = self._first_called(deployment)
        try:
            report = self._provider(deployment.connection).deployments.create(self._request(deployment))
        except UnauthorizedError:
            raise
        except RejectedError as refusal:
            made = self._provider(deployment.connection).deployments.get(deployment.name)
            if made is not None:  # by an earlier create of this intent, whose answer nobody lived to record
                return self._accept(deployment, made)
            message = refusal.message
            who = _provider_who(deployment)
            self._append(deployment.id, lambda now, _: deploying.failed(now, error=message, exists=False, who=who))
            return f"refused: {message}"
        except OutcomeUnknownError as error:
            text = error.message
            self._append(
                deployment.id,
                lambda now, _: deploying.outcome_unknown(now, called_at=called_at, error=text, who=SCHEDULER),
            )
            raise
        return self._accept(deployment, report)

    def _first_called(self, deployment: DeploymentState) -> datetime:
        """Since when a create may have had its effect: an intent that is older than this process may have been sent by
        one that died before it could record the answer.
        """
        assert deployment.requested_at is not None
        if deployment.requested_at <= self._since:
            return deployment.requested_at
        return self._called.setdefault(deployment.id, self._clock())

    def find(self, step: Step) -> Done:
        deployment = _deployment(step)
        report = self._provider(deployment.connection).deployments.get(deployment.name)
        if report is not None:
            return self._accept(deployment, report)
        self._commands.limits.check_space()
        return self.create(step)

    def _accept(self, deployment: DeploymentState, report: DeploymentReport) -> Done:
        assert deployment.requested_at is not None
        since = min(max(report.created_at or deployment.requested_at, deployment.requested_at), self._clock())
        who = _provider_who(deployment)
        self._append(
            deployment.id,
            lambda now, _: deploying.accepted(
                now, provider_id=report.id, billed_from=since, who=who, committed_until=report.committed_until
            ),
        )
        return report.status

    def look(self, steps: Sequence[Step]) -> Mapping[str, DeploymentReport]:
        """Those of one connection, with one list where they are many; what a list does not show is asked for by name.

        A list may be cut short or stale: only the provider's own answer about one says that it is not there.
        """
        wanted = [_deployment(step) for step in steps]
        door = self._provider(wanted[0].connection).deployments
        listed: dict[str, DeploymentReport] = {}
        if len(wanted) > FEW:
            for report in door.list():
                listed[report.id] = listed[report.name] = report
        found: dict[str, DeploymentReport] = {}
        for one in wanted:
            report = listed.get(one.provider_id or "") or listed.get(one.name) or door.get(_name_at_provider(one))
            if report is not None:
                found[one.id] = report
        return found

    def record(self, step: Step, report: DeploymentReport | None) -> Done:
        if report is not None:
            self._note(_deployment(step), report)
        return self._watch(step, report) if step.action == Action.WATCH else self._poll(step, report)

    def _note(self, deployment: DeploymentState, report: DeploymentReport) -> None:
        """What a read tells beside the status."""
        if report.committed_until not in {None, deployment.committed_until}:
            self._accept(deployment, report)  # its first answer did not tell, or it was renewed
        who = _provider_who(deployment)
        if deployment.state == "serving" and deploying.shown_with(deployment, report.artifact_id, who):
            self._append(deployment.id, lambda now, _: deploying.shown_with(now, report.artifact_id, who))

    def _poll(self, step: Step, report: DeploymentReport | None) -> Done:
        """Serving is what has answered a probe, whatever the provider says of it."""
        deployment = _deployment(step)
        provider = self._provider(deployment.connection)
        who = _provider_who(deployment)
        if report is None:
            if self._missed(deployment, provider).reads < self._reads(provider):
                return Waiting("not shown")
            gone = "it disappeared while it was coming up"
            self._append(deployment.id, lambda now, _: deploying.failed(now, error=gone, exists=True, who=who))
            return gone
        self._misses.shown(deployment)
        if report.outcome == "failed":
            error = report.error or f"the provider says {report.status}"
            self._append(deployment.id, lambda now, _: deploying.failed(now, error=error, exists=True, who=who))
            return error
        if report.outcome != "serving":
            return self._wait(deployment, report.status)
        problem = self._probe(provider, deployment, report.endpoint)
        if problem is not None:
            return self._wait(deployment, f"it does not answer yet: {problem}")
        shown = report.artifact_id
        self._append(
            deployment.id,
            lambda now, _: deploying.serving(now, endpoint=report.endpoint, who=who, shown_artifact=shown),
        )
        return "answered a probe"

    def _wait(self, deployment: DeploymentState, detail: str) -> Done:
        """One that does not come up in time has failed: it is billed, and nobody is served."""
        since = deployment.billed_from or deployment.requested_at
        if since is None or self._clock() - since < PROVISIONING_MAX:
            return Waiting(detail)
        hours = PROVISIONING_MAX.total_seconds() / 3600
        error = f"not serving after {hours:g} hours: {detail}"
        who = SCHEDULER
        self._append(deployment.id, lambda now, _: deploying.failed(now, error=error, exists=True, who=who))
        return error

    def _watch(self, step: Step, report: DeploymentReport | None) -> Done:
        """Whether it still serves. Absence is believed after several reads; a failure that is shown, at once."""
        deployment = _deployment(step)
        provider = self._provider(deployment.connection)
        if report is not None and report.outcome in {"serving", "provisioning"}:
            self._misses.shown(deployment)
            return Waiting()
        if report is None and self._missed(deployment, provider).reads < self._reads(provider):
            return Waiting("not shown")
        who = _provider_who(deployment)
        there = report is not None
        seen_at = None if there else self._misses.last_seen(deployment)
        self._append(
            deployment.id,
            lambda now, version: deploying.lost(now, version, last_seen_at=seen_at, exists=there, who=who),
        )
        return f"the provider says {report.status}" if report is not None else "gone at the provider"

    def switch(self, step: Step) -> Done:
        """The new one answers a real probe, then one append moves the pointer."""
        version = _version(step)
        deployment = step.deployment
        if deployment is not None:
            provider = self._provider(deployment.connection)
            problem = self._probe(provider, deployment, deployment.endpoint)
            if problem is not None:
                return Waiting(f"it does not answer: {problem}")
        who = Who(actor=version.activation_requested_by or "scheduler", reason=version.activation_reason)

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            model = unit.model(version.model)
            current = unit.version(ref_of(version))
            serving = unit.deployment(deployment.id) if deployment else None
            if model is None or current is None or current.state != "deploying":
                return [], {}
            if deployment is not None and (serving is None or not deploying.serves_its_own(serving)):
                return [], {}
            previous = None
            if model.active is not None and model.active != version.version:
                previous = unit.version(VersionRef(model.name, model.active))
            return versions.serve(model, current, previous, serving, who), {}

        command = Command(name="switch", body={"ref": str(ref_of(version))}, who=who)
        appended = self._door.run(command, decide, because=version).appended
        return f"{ref_of(version)} is active" if appended is not None else Waiting(OVERTAKEN)

    def abandon(self, step: Step) -> Done:
        return self._abandon(_version(step), step.why)

    def _abandon(self, version: VersionState, error: str) -> Done:
        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            model = unit.model(version.model)
            current = unit.version(ref_of(version))
            if model is None or current is None or current.state != "deploying":
                return [], {}
            return versions.abandon(model, current, error, SCHEDULER), {}

        command = Command(name="abandon", body={"ref": str(ref_of(version))}, who=SCHEDULER)
        appended = self._door.run(command, decide, because=version).appended
        return error if appended is not None else Waiting(OVERTAKEN)

    def request_deletion(self, step: Step) -> Done:
        deployment = _deployment(step)
        who = Who(actor=step.actor, reason=step.why)
        idle = step.actor == "policy:delete-idle"
        if idle and unsettled(step, self._uses, self._provider(deployment.connection)):
            return Waiting("its provider has not yet said whether anybody called it: the sweep asks")
        if idle and (self._looks.in_flight(deployment.id) or not self._looks.write_calls()):
            return Waiting("requests run on it, or are not counted yet")

        def decide(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            current = unit.deployment(deployment.id)
            version = unit.version(VersionRef(deployment.model, deployment.version))
            last_used = self._uses.of(deployment.id) if idle else None
            if current is None or not still_wanted(step, current, version, last_used):
                return [], {}
            return deploying.undeploy(current, version, (), who), {}

        command = Command(name="request-deletion", body={"id": deployment.id}, who=who)
        self._door.run(command, decide, because=step.version or deployment)
        return None

    def delete(self, step: Step) -> Done:
        """Asked for until it is accepted, once its requests have ended. One that was never made is only verified."""
        deployment = _deployment(step)
        if running := self._running(deployment):
            return Waiting(f"{running} requests run on it")
        provider = self._provider(deployment.connection)
        door = provider.deployments
        if billed_since(deployment) is None and self._may_have_been_made(deployment):
            report = door.get(_name_at_provider(deployment))
            if report is not None:
                self._accept(deployment, report)
            elif self._missed(deployment, provider).reads < self._reads(provider):
                return Waiting("not shown, and it may have been made")
        door.delete(_name_at_provider(deployment))
        self._append(deployment.id, lambda now, _: deploying.deletion_accepted(now, _provider_who(deployment)))
        return "accepted"

    def _running(self, deployment: DeploymentState) -> int:
        asked_at = deployment.deletion_requested_at
        drained = asked_at is not None and self._clock() - asked_at >= DRAIN_MAX
        return 0 if drained else self._looks.in_flight(deployment.id)

    def _may_have_been_made(self, deployment: DeploymentState) -> bool:
        assert deployment.requested_at is not None
        return deployment.id in self._called or deployment.requested_at <= self._since

    def verify_deleted(self, step: Step) -> Done:
        """Deleted is what repeated reads do not show; one that comes back is deleted again."""
        deployment = _deployment(step)
        provider = self._provider(deployment.connection)
        report = provider.deployments.get(_name_at_provider(deployment))
        if report is not None:
            self._misses.shown(deployment)
            if billed_since(deployment) is None:
                self._accept(deployment, report)
            if report.outcome != "deleting":
                provider.deployments.delete(_name_at_provider(deployment))
            return Waiting("still there")
        missed = self._missed(deployment, provider)
        if missed.reads < self._reads(provider):
            return Waiting(f"absent in {missed.reads} reads")
        gone_at = missed.since if billed_since(deployment) is not None else None
        seen_at = self._misses.last_seen(deployment)
        who = _provider_who(deployment)
        self._append(
            deployment.id,
            lambda now, _: deploying.deleted(
                now, billed_to=gone_at, reads=missed.reads, who=who, last_seen_at=seen_at if gone_at else None
            ),
        )
        return "gone"

    def _probe(self, provider: Provider, deployment: DeploymentState, endpoint: str | None) -> str | None:
        """What is wrong, or None when it answered a real completion."""
        target = ServingTarget(
            artifact=Artifact(id=deployment.artifact_id, digest=deployment.artifact_digest),
            deployment_id=deployment.provider_id,
            deployment_name=deployment.name,
            endpoint=endpoint,
        )
        try:
            provider.chat.complete(target, PROBE, timeout_s=PROBE_TIMEOUT_S)
        except (ChatError, UnavailableError, OutcomeUnknownError) as error:
            return error.message
        return None

    def _missed(self, deployment: DeploymentState, provider: Provider) -> Missed:
        return self._misses.miss(deployment, needed=self._reads(provider))

    def _reads(self, provider: Provider) -> int:
        return provider.capabilities.absence_reads or self._looks.absence

    def _request(self, deployment: DeploymentState) -> DeploymentRequest:
        registry = self._commands.registry_id()
        ref = VersionRef(deployment.model, deployment.version)
        return DeploymentRequest(
            name=deployment.name,
            token=deployment.token,
            model=deployment.model,
            version=deployment.version,
            artifact=Artifact(id=deployment.artifact_id, digest=deployment.artifact_digest),
            tags={"tenure": registry, "tenure-version": str(ref), "tenure-deployment": deployment.id},
        )

    def _append(self, id: str, decide: Callable[[DeploymentState, VersionState | None], list[NewEvent]]) -> None:
        def decision(unit: Unit) -> tuple[list[NewEvent], dict[str, object]]:
            deployment = unit.deployment(id)
            if deployment is None:
                return [], {}
            version = unit.version(VersionRef(deployment.model, deployment.version))
            return decide(deployment, version), {}

        command = Command(name="reconcile", body={"id": id}, who=SCHEDULER)
        self._door.run(command, decision, because=self._log.deployment(id))


def _now(log: EventLog, clock: Clock) -> datetime:
    """By the log, which never goes back: by a clock that was set back, old intents would be this process's own."""
    head = log.head()
    last = next(iter(log.read(after=head - 1, until=head)), None)
    return clock() if last is None else max(clock(), last.recorded_at)


def _version(step: Step) -> VersionState:
    assert step.version is not None
    return step.version


def _deployment(step: Step) -> DeploymentState:
    assert step.deployment is not None
    return step.deployment


def _name_at_provider(deployment: DeploymentState) -> str:
    """By its id once that is known: it says what kind of thing it is, and a provider may have made two of one name."""
    return deployment.provider_id or deployment.name


def _provider_who(deployment: DeploymentState) -> Who:
    return Who(actor=f"provider:{deployment.connection}")
