"""What is done with a version and its deployments."""

from __future__ import annotations

from registry.application.views import DeploymentView
from registry.embedded.version import GONE, Version, Which, ref_of
from registry.embedded.working import Working


class Moves(Working):
    def activate(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        """Make it the active version: deploy it where needed, probe it, move the pointer, retire what was active."""
        ref = ref_of(version)
        self._registry.commands.activate(ref, *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref), frozenset({"active", "trained", "retired", "deleted"}))

    def retire(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        """Take the active version out of service, without a successor. Raises RefusedError."""
        ref = ref_of(version)
        self._registry.commands.retire(ref, *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref))

    def cancel(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        """Stop its training; `.wait()` until its job is seen to have ended. Raises RefusedError."""
        ref = ref_of(version)
        self._registry.commands.cancel(ref, *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref), frozenset({"cancelled"}))

    def pause(self, version: Which, *, reason: str | None = None) -> Version:
        """Pause the job of a version that trains, where the provider can."""
        self._registry.jobs.steer(ref_of(version), "pause", self._who(reason))
        return Version.of(self, self.version(ref_of(version)))

    def resume(self, version: Which, *, reason: str | None = None) -> Version:
        """Let a paused training go on."""
        self._registry.jobs.steer(ref_of(version), "resume", self._who(reason))
        return Version.of(self, self.version(ref_of(version)))

    def retry(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        """Train a failed or cancelled version again: another attempt, with the same data and settings."""
        ref = ref_of(version)
        self._registry.commands.retry(ref, *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref))

    def approve(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        """Your word for a version whose policy asks for approvals; nobody approves what they asked for themselves."""
        ref = ref_of(version)
        self._registry.commands.approve(ref, *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref))

    def delete(self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None) -> Version:
        """Delete the artifact for good, after every deployment of it."""
        ref = ref_of(version)
        self._registry.commands.delete(ref, *self._asked(reason, idempotency_key))
        return Version.of(self, self.version(ref), GONE)

    # Deployments

    def deploy(
        self, version: Which, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> DeploymentView:
        """A warm standby: it serves, and may be billed, without being active."""
        return self.deployment(self._registry.commands.deploy(ref_of(version), *self._asked(reason, idempotency_key)))

    def undeploy(
        self, deployment: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> DeploymentView:
        """Delete it, by its id or its provider's name; `wait_for_deployment` until it is seen gone."""
        return self.deployment(self._registry.commands.undeploy(deployment, *self._asked(reason, idempotency_key)))

    def attach(
        self,
        version: Which,
        deployment: str,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> DeploymentView:
        """Take over a deployment that exists already, by the provider's name, its id, or the registry's."""
        attached = self._registry.commands.attach(ref_of(version), deployment, *self._asked(reason, idempotency_key))
        return self.deployment(attached)
