"""What one can ask an open registry. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from registry.application.bills import ReconciliationView, compare
from registry.application.declaring import read_toml
from registry.application.focus import Focus
from registry.application.ports import VersionQuery
from registry.application.reading import AsOf
from registry.application.replaying import ReplayView
from registry.application.views import (
    AuditView,
    CheckpointView,
    CheckView,
    ConnectionView,
    DeploymentView,
    EventView,
    MetricView,
    ModelView,
    SideBySideView,
    StepView,
    VersionView,
)
from registry.composition import read_bill
from registry.domain.events import Json
from registry.domain.ids import VersionRef, parse_ref
from registry.embedded.opened import Opened
from registry.embedded.version import Which, ref_of


class Questions(Opened):
    def models(self, *, as_of: AsOf = None) -> list[ModelView]:
        """By name."""
        return self._registry.reading.models(as_of)

    def versions(
        self, model: str, *, states: Sequence[str] = (), limit: int | None = None, as_of: AsOf = None
    ) -> list[VersionView]:
        """Newest first."""
        query = VersionQuery(model=model, states=frozenset(states), limit=limit)
        return self._registry.reading.versions(query, as_of)[0]

    def version(self, ref: Which | VersionRef, *, as_of: AsOf = None) -> VersionView:
        """One version, now or as of a position or a time. Raises NotFoundError."""
        return self._registry.reading.version(VersionRef.parse(str(ref)), as_of)

    def show(self, ref: Which, *, as_of: AsOf = None) -> ModelView | VersionView:
        """A model by its name, or a version by `model@n`. Raises NotFoundError."""
        model, number = parse_ref(str(ref))
        if number is None:
            return self._registry.reading.model(model, as_of)
        return self._registry.reading.version(VersionRef(model, number), as_of)

    def history(self, ref: Which, *, as_of: AsOf = None, after: int = 0) -> list[EventView]:
        """Everything that happened to a model, or to one version and its deployments, in order."""
        return self._registry.reading.history(str(ref), as_of, after=after)

    def events(self, *, after: int = 0, limit: int | None = None) -> list[EventView]:
        """The whole log, in order."""
        return [EventView.of(event) for event in self._registry.log.read(after=after, limit=limit)]

    def metrics(self, ref: Which, *, as_of: AsOf = None) -> list[MetricView]:
        """The curves of a version's newest attempt."""
        return self._registry.reading.metrics(ref_of(ref), as_of)

    def checkpoints(self, ref: Which) -> list[CheckpointView]:
        """Those of a version's training that the provider keeps; each can be imported as a version of its own."""
        return self._registry.jobs.checkpoints(ref_of(ref))

    def deployments(
        self, *, billed: bool | None = None, model: str | None = None, as_of: AsOf = None
    ) -> list[DeploymentView]:
        """All, or those that may be billed right now (`billed`)."""
        return self._registry.reading.deployments(billed=billed, model=model, as_of=as_of)

    def side_by_side(self, *, billed: bool | None = None, model: str | None = None) -> list[SideBySideView]:
        """Deployments as the log has them beside what the providers show now, with the differences. Only looks."""
        return self._registry.comparing.side_by_side(billed=billed, model=model)

    def deployment(self, id: str, *, as_of: AsOf = None) -> DeploymentView:
        """By the registry's id, or the provider's name or id. Raises NotFoundError."""
        return self._registry.reading.deployment(id, as_of)

    def audit(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        by: str | None = None,
        as_of: AsOf = None,
    ) -> AuditView:
        """What was billed from one time to another, for which version, since when, on whose word."""
        return self._registry.auditing.audit(from_=from_, to=to, by=by, as_of=as_of)

    def audit_focus(self, *, from_: datetime | None = None, to: datetime | None = None, as_of: AsOf = None) -> Focus:
        """The same in the rows of FOCUS 1.2; `.csv()` is the file."""
        return self._registry.auditing.focus(from_=from_, to=to, as_of=as_of)

    def audit_against(self, bill: Path | str) -> ReconciliationView:
        """A provider's bill (CSV or Parquet) beside the ledger, for the time that it is of."""
        read = read_bill(Path(bill).expanduser())
        return compare(read, self.audit(from_=read.from_, to=read.to))

    def connections(self, *, as_of: AsOf = None) -> list[ConnectionView]:
        """By name; what was removed is left out."""
        return self._registry.reading.connections(as_of)

    def test_connection(self, name: str) -> list[CheckView]:
        """Ask the provider, question by question: what is missing is told with its remedy. Changes nothing."""
        provider = self._registry.providers.of(self._registry.reading.connection_state(name))
        return [
            CheckView(name=one.name, passed=one.passed, detail=one.detail, remedy=one.remedy)
            for one in provider.check()
        ]

    def doctor(self) -> list[CheckView]:
        """The home, the log's chain, every connection, what failed and what is billed for nothing."""
        from registry.application.doctor import examine

        return examine(self._registry.home, self._registry.tools, self._registry.reading, self.test_connection)

    def policy(self, model: str, *, as_of: AsOf = None) -> Json:
        """Every key with its value."""
        return self._registry.reading.policy(model, as_of)

    def policy_plan(self, model: str, *, as_of: AsOf = None) -> list[StepView]:
        """What the policy would do for one model, now or when it is due, on which policy's word, and why."""
        past = self._registry.reading.moment(as_of)
        self._registry.reading.model_state(model, past[0] if past else None)
        return self._registry.reconciler.policy_plan(model, past)

    def policy_replay(self, model: str, source: Path | str | Mapping[str, object] | None = None) -> ReplayView:
        """Another policy (a TOML file, or its keys) over the recorded history: what it would have deployed, deleted
        and spent, beside what was. None: the policy in force. Changes nothing.
        """
        document = source if isinstance(source, Mapping) or source is None else read_toml(Path(source))
        return self._registry.replaying.replay(model, document)

    def chat(self, ref: Which, messages: Sequence[Mapping[str, object]], **options: object) -> Iterator[str]:
        """The answer of the active version (or of the version named), piece by piece as it comes.

        `options` are those of OpenAI's chat completions. Raises RefusedError when nothing serves it.
        """
        from registry.application.chatting import stream_text

        one = self._registry
        return stream_text(one.reading, one.log, one.providers, str(ref), messages, options, clock=one.clock)
