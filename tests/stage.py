"""A registry on stage: the real parts over a log (in memory by default), with fake accounts, a set clock, known ids."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from registry.application.commands import FineTune
from registry.application.ports import CheckedData, DataSource, DeploymentQuery, EventLog
from registry.application.views import DeploymentView, EventView, VersionView
from registry.composition import Registry, compose
from registry.domain import events as ev
from registry.domain import ledger
from registry.domain.errors import BadInputError
from registry.domain.events import DataRef, NewEvent
from registry.domain.ids import VersionRef
from registry.domain.versions import Who
from registry.embedded import Tenure
from registry.store.memory_log import MemoryLog
from tests.fakes import Cloud, FakeClock, FakeProviders, SequentialIds

ANA = Who(actor="user:ana")
BEN = Who(actor="user:ben")
BOT = "bot"
PASSES_MAX = 60
PASS_S = 20.0

DOCUMENT: Mapping[str, object] = {
    "connections": {
        "cloud": {"provider": "azure-openai", "sku": "Standard"},
        "alone": {"provider": "openai"},
        "local": {"provider": "huggingface"},
    },
    "models": {BOT: {"policy": {"superseded_grace": "10m"}}},
    "prices": [
        {
            "provider": "azure-openai",
            "sku": "Standard",
            "unit": "hour",
            "price": "1.80",
            "currency": "USD",
            "source": "test price list",
        }
    ],
}


class FakeData:
    """Data sets by the digest of their files; nothing is converted. An empty file has a fault."""

    def prepare(self, source: DataSource, *, rows_min: int) -> CheckedData:
        train = self._keep(source.train)
        if train.rows < rows_min:
            raise BadInputError(f"{source.train}: {train.rows} rows, at least {rows_min} are needed", field="train")
        validation = self._keep(source.validation) if source.validation else None
        return CheckedData(train=train, validation=validation, warnings=("short answers",))

    def _keep(self, path: Path) -> DataRef:
        text = path.read_bytes()
        digest = hashlib.sha256(text).hexdigest()
        return DataRef(sha256=digest, rows=text.count(b"\n"), tokens=None, name=path.name, path=f"data/{digest}")


class Stage:
    """`registry` can be thrown away and composed again (`restart`): log, clock and clouds stay."""

    def __init__(
        self,
        home: Path,
        *,
        document: Mapping[str, object] = DOCUMENT,
        clock: FakeClock | None = None,
        log: EventLog | None = None,
    ) -> None:
        self.home = home
        self.clock = clock or FakeClock()
        self.providers = FakeProviders(self.clock)
        self.free_bytes: Callable[[], int] = lambda: 2**40
        self.log: EventLog = log or MemoryLog(clock=self.clock, ids=SequentialIds())
        self.registry: Registry = self.restart()
        self.train = home / "train.jsonl"
        self.train.write_text("{}\n" * 20)
        if document:
            self.registry.declaring.apply(document, ANA, plan=False)

    def restart(self) -> Registry:
        self.registry = compose(
            self.home,
            self.log,
            clock=self.clock,
            jitter=lambda: 0.0,
            new_registry_id=lambda: "test12",
            data=FakeData(),
            providers=self.providers,
            free_bytes=self.free_bytes,
        )
        return self.registry

    def tenure(self, *, actor: str = ANA.actor, background: bool = False) -> Tenure:
        return Tenure(self.registry, actor=actor, background=background)

    def cloud(self, name: str = "cloud") -> Cloud:
        self.providers.of(self.registry.reading.connection_state(name))
        return self.providers.clouds[name]

    # Shorthands of commands

    def wanted(self, model: str = BOT, connection: str = "cloud", **changes: object) -> FineTune:
        known: dict[str, object] = {
            "model": model,
            "connection": connection,
            "base_model": "base",
            "data": DataSource(train=self.train),
        }
        return FineTune(**{**known, **changes})  # pyright: ignore[reportArgumentType] - the caller knows the fields

    def fine_tune(
        self, model: str = BOT, connection: str = "cloud", *, who: Who = ANA, **changes: object
    ) -> VersionRef:
        return self.registry.commands.fine_tune(self.wanted(model, connection, **changes), who)

    def trained(self, model: str = BOT, connection: str = "cloud", **changes: object) -> VersionRef:
        ref = self.registry.commands.fine_tune(self.wanted(model, connection, **changes), ANA)
        self.settle()
        assert self.state(ref) == "trained", self.version(ref)
        return ref

    def active(self, model: str = BOT, connection: str = "cloud", who: Who = ANA) -> VersionRef:
        ref = self.trained(model, connection)
        self.activate(ref, who)
        self.settle()
        assert self.state(ref) == "active", self.version(ref)
        return ref

    def activate(self, ref: VersionRef, who: Who = ANA) -> None:
        self.registry.commands.activate(ref, who)

    def policy(self, **policy: object) -> None:
        self.registry.declaring.set_policy(BOT, policy, ANA)

    def orphan_job(self, name: str = "tenure-test12-bot-9-1") -> None:
        """A sweep finds a training job that no version knows."""
        job = ev.JobRef(id=f"job-{name}", name=name, status="running")
        payload = ev.OrphanJobFound(connection="cloud", job=job)
        self.log.append([NewEvent(stream="connection:cloud", payload=payload, actor="provider:cloud")], expected={})

    # Time and work

    def run(self) -> None:
        self.registry.reconciler.run()

    def settle(self, *, passes_max: int = PASSES_MAX) -> None:
        """Passes at the pace of polls until nothing is under way."""
        for _ in range(passes_max):
            self.run()
            if not self.registry.reconciler.in_motion():
                return
            self.clock.advance(seconds=PASS_S)
        raise AssertionError(f"still under way after {passes_max} passes: {self.registry.reconciler.plan()}")

    def let_pass(self, **span: float) -> None:
        """Time goes by, then everything that is due is done."""
        self.clock.advance(**span)
        self.settle()

    # What is so

    def version(self, ref: VersionRef) -> VersionView:
        return self.registry.reading.version(ref)

    def state(self, ref: VersionRef) -> str:
        return self.version(ref).state

    def deployments(self, model: str = BOT) -> list[DeploymentView]:
        return self.registry.reading.deployments(model=model)

    def states(self, model: str = BOT) -> list[str]:
        return [one.state for one in self.deployments(model)]

    def active_ref(self, model: str = BOT) -> str | None:
        return self.registry.reading.model(model).active

    def history(self, ref: str = BOT) -> list[EventView]:
        return self.registry.reading.history(ref)

    def types(self, ref: str = BOT) -> list[str]:
        return [event.type for event in self.history(ref)]

    def unbilled_seconds(self) -> Decimal:
        """Seconds that a cloud bills in truth and the ledger does not show, over all deployments."""
        missing = Decimal(0)
        now = self.clock.time
        for cloud in self.providers.clouds.values():
            for bill in cloud.bills:
                missing += self._uncovered(bill.name, bill.from_, bill.to or now, now)
        return missing

    def _uncovered(self, name: str, from_: datetime, to: datetime, now: datetime) -> Decimal:
        spans = [
            span
            for one in self.log.deployments(DeploymentQuery())
            if one.name == name
            for span in ledger.intervals(one, from_=from_, to=min(to, now))
        ]
        covered = sum((span.to - span.from_).total_seconds() for span in spans)
        return Decimal(str(round((to - from_).total_seconds() - covered, 6)))
