"""Events for tests of the log: one of every type, a clock and ids that repeat, and a small registry's history."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from registry.application.ports import EventLog, LogTools
from registry.domain import events as ev
from registry.domain.events import DomainEvent, NewEvent
from registry.store.batches import KINDS

START = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)


class Log(EventLog, LogTools): ...


OpenLog = Callable[[], Log]


@dataclass
class Ticking:
    """A clock that goes on by a second with every look."""

    now: datetime = START
    step: timedelta = timedelta(seconds=1)

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


@dataclass
class Counting:
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self) -> str:
        return f"{next(self.numbers):032x}"


DATA = ev.DataRef(sha256="a" * 64, rows=800, tokens=12_345, name="train.csv", path="datasets/aaaa.jsonl")
ARTIFACT = ev.ArtifactRef(id="ft:gpt-4.1:acme::abc123", digest="b" * 64)
PRICE = ev.Price(hourly=Decimal("1.70"), currency="USD", source="contract 2026-10", units=Decimal(2))
TRAINING_PRICE = ev.UnitPrice(amount=Decimal("2.50"), unit="1M-tokens", currency="USD", source="contract 2026-10")

EVERY_EVENT: Sequence[DomainEvent] = (
    ev.RegistryCreated(registry="r7f3"),
    ev.SchedulerConfigured(settings={"poll": "30s", "sweep": {"every": "5m", "grace": None}}),
    ev.PricesChanged(prices=({"provider": "azure-openai", "price": "1.70"}, {"provider": "bedrock", "price": "20"})),
    ev.ConnectionDeclared(
        connection="azure-prod", provider="azure-openai", settings={"sku": "Standard", "capacity": 1}
    ),
    ev.ConnectionChanged(connection="azure-prod", provider="azure-openai", settings={"sku": "Standard", "capacity": 2}),
    ev.ConnectionFailed(connection="azure-prod", error="401: the key was refused"),
    ev.ConnectionRecovered(connection="azure-prod"),
    ev.ConnectionRemoved(connection="azure-prod"),
    ev.ModelDeclared(model="support-bot"),
    ev.PolicyChanged(model="support-bot", policy={"deploy": "on-trained", "approvals": 1, "superseded": "delete"}),
    ev.VersionNumbered(model="support-bot", version=3),
    ev.ActiveVersionChanged(model="support-bot", version=3, previous=2),
    ev.FineTuneRequested(
        model="support-bot",
        version=3,
        connection="azure-prod",
        provider="azure-openai",
        base_model="gpt-4.1-2025-04-14",
        method="supervised",
        train=DATA,
        validation=ev.DataRef(sha256="c" * 64, rows=80),
        hyperparameters={"n_epochs": 3, "learning_rate": 5e-05},
        activate=True,
        cost_estimated=Decimal("7.20"),
    ),
    ev.VersionImported(
        model="support-bot",
        version=4,
        connection="azure-prod",
        provider="azure-openai",
        base_model=None,
        artifact=ARTIFACT,
    ),
    ev.OwnTrainingStarted(
        model="support-bot", version=5, connection="local", provider="huggingface", base_model=None, directory="own/5"
    ),
    ev.TrainingSubmitted(attempt=1, name="tenure-r7f3-support-bot-3-1", token="t" * 32, price=TRAINING_PRICE),
    ev.TrainingOutcomeUnknown(attempt=1, error="time-out after 60 s"),
    ev.TrainingResubmitted(attempt=1),
    ev.TrainingStarted(attempt=1, job=ev.JobRef(id="ftjob-1", name="tenure-r7f3-support-bot-3-1", status="queued")),
    ev.DuplicateJobFound(job=ev.JobRef(id="ftjob-2", name="tenure-r7f3-support-bot-3-1", status="queued")),
    ev.JobStatusChanged(status="running", estimated_finish_at=START + timedelta(hours=1)),
    ev.VersionFailed(error="quota: näher bei 0 €", job_status="failed"),
    ev.VersionRetried(attempt=2),
    ev.VersionTrained(
        artifact=ARTIFACT,
        job_status="succeeded",
        metrics={"train_loss": 0.71, "valid_loss": 0.84},
        trained_tokens=1_234_567,
        duration_s=812.5,
        cost=Decimal("3.0864"),
        currency="USD",
        price=TRAINING_PRICE,
        finished_at=START + timedelta(seconds=20),
    ),
    ev.VersionCancelled(job_status="running"),
    ev.JobStopped(status="cancelled", artifact=ARTIFACT),
    ev.ActivationRequested(model="support-bot", version=3),
    ev.VersionActivated(model="support-bot", version=3, deployment="dep_1", replaced=2),
    ev.ActivationAbandoned(model="support-bot", version=3, error="the probe got no answer"),
    ev.VersionRetired(model="support-bot", version=2, replaced_by=3),
    ev.ServingLost(model="support-bot", version=3, deployment="dep_1"),
    ev.DeletionRequested(model="support-bot", version=2),
    ev.VersionDeleted(model="support-bot", version=2),
    ev.VersionApproved(model="support-bot", version=3),
    ev.DeploymentRequested(
        deployment="dep_1",
        model="support-bot",
        version=3,
        connection="azure-prod",
        provider="azure-openai",
        name="tenure-r7f3-support-bot-3-1",
        token="t" * 32,
        attempt=1,
        artifact=ARTIFACT,
        price=PRICE,
        purpose="activation",
    ),
    ev.DeploymentAttached(
        deployment="dep_2",
        model="support-bot",
        version=3,
        connection="azure-prod",
        provider="azure-openai",
        name="by-hand",
        provider_id="/subscriptions/s/by-hand",
        artifact=ARTIFACT,
        price=ev.Price(hourly=None, currency="USD", source="none known"),
        billed_from=START,
    ),
    ev.DeploymentOutcomeUnknown(called_at=START, error="reset in mid-answer"),
    ev.DeploymentAccepted(
        provider_id="/subscriptions/s/d",
        billed_from=START + timedelta(microseconds=1),
        committed_until=START + timedelta(days=30),
    ),
    ev.DeploymentRepriced(
        price=ev.Price(
            hourly=Decimal("1.60"),
            currency="USD",
            source="contract 2027-01",
            sku="Standard",
            later=(ev.Rate(from_=START + timedelta(days=40), hourly=Decimal("1.50")),),
        )
    ),
    ev.DeploymentServing(endpoint="https://acme.openai.azure.com"),
    ev.DeploymentFailed(error="no capacity", exists=True),
    ev.DeploymentLost(last_seen_at=None),
    ev.DeploymentDeletionRequested(deployment="dep_1"),
    ev.DeploymentDeletionAccepted(),
    ev.DeploymentDeleted(billed_to=START + timedelta(hours=2), reads=3),
    ev.DefaultPolicyChanged(policy={"orphans": "delete", "idle_delete": "7d"}),
    ev.ForeignFound(
        connection="azure-prod",
        provider_id="/subscriptions/s/theirs",
        name="theirs",
        status="Succeeded",
        artifact_id="gpt-4.1",
        created_at=START - timedelta(days=3),
    ),
    ev.ForeignGone(connection="azure-prod", provider_id="/subscriptions/s/theirs"),
    ev.BudgetExceeded(
        model="support-bot", month="2026-11", limit=Decimal("2000.00"), spent=Decimal("2000.42"), currency="USD"
    ),
    ev.OrphanFound(
        deployment="dep_9",
        connection="azure-prod",
        provider="azure-openai",
        name="tenure-r7f3-support-bot-3-2",
        provider_id="/subscriptions/s/tenure-r7f3-support-bot-3-2",
        status="Succeeded",
        price=PRICE,
        billed_from=START,
        artifact_id=ARTIFACT.id,
        suspected="support-bot@3",
    ),
    ev.OrphanAdopted(deployment="dep_9", model="support-bot", version=3, artifact=ARTIFACT),
    ev.DeploymentReappeared(deployment="dep_1", seen_as="Succeeded"),
    ev.DeploymentNotShown(deployment="dep_1", reads=2),
    ev.DeploymentShownAgain(deployment="dep_1"),
    ev.RetirementAnnounced(base_model="gpt-4.1-2025-04-14", retires_on=date(2027, 10, 1)),
    ev.SignInConfigured(
        settings={
            "issuer": "https://id.example.org",
            "client_id": "tenure",
            "url": "https://tenure.example.org",
            "groups": {"ml": ["developer", "approver:support-bot"]},
        }
    ),
    ev.OrphanJobFound(
        connection="azure-prod",
        job=ev.JobRef(id="ftjob-9", name="tenure-r7f3-support-bot-9-1", status="running"),
        suspected="support-bot@9",
    ),
    ev.OrphanJobEnded(connection="azure-prod", job_id="ftjob-9", status="cancelled"),
    ev.DeploymentRepointed(other_artifact="arn:aws:bedrock:us-east-1:1:custom-model/other"),
)
"""One of each type, with every kind of value that occurs. An event type that is added is added here."""

_STREAMS = {
    "registry": "registry:tenure",
    "connection": "connection:azure-prod",
    "model": "model:support-bot",
    "version": "version:support-bot@3",
    "deployment": "deployment:dep_1",
}


def event(stream: str, payload: DomainEvent, actor: str = "user:ana", reason: str | None = None) -> NewEvent:
    return NewEvent(stream=stream, payload=payload, actor=actor, reason=reason)


def own_stream(payload: DomainEvent) -> NewEvent:
    """In the one stream of its kind that these tests use."""
    return event(_STREAMS[KINDS[type(payload)]], payload)


def requested(model: str, version: int, *, connection: str = "local") -> NewEvent:
    payload = ev.FineTuneRequested(
        model=model,
        version=version,
        connection=connection,
        provider="huggingface",
        base_model="smollm2",
        method="supervised",
        train=DATA,
    )
    return event(f"version:{model}@{version}", payload)


def imported(model: str, version: int) -> NewEvent:
    payload = ev.VersionImported(
        model=model, version=version, connection="local", provider="huggingface", base_model=None, artifact=ARTIFACT
    )
    return event(f"version:{model}@{version}", payload)


def status(model: str, version: int, word: str = "running") -> NewEvent:
    return event(f"version:{model}@{version}", ev.JobStatusChanged(status=word))


def trained(model: str, version: int, **metrics: float) -> NewEvent:
    return event(
        f"version:{model}@{version}",
        ev.VersionTrained(artifact=ARTIFACT, job_status="succeeded", metrics=metrics),
    )


def deployment(id: str, model: str, version: int, *, connection: str = "local") -> NewEvent:
    payload = ev.DeploymentRequested(
        deployment=id,
        model=model,
        version=version,
        connection=connection,
        provider="huggingface",
        name=id,
        token=id,
        attempt=1,
        artifact=ARTIFACT,
        price=PRICE,
        purpose="standby",
    )
    return event(f"deployment:{id}", payload)


def add(log: Log, *events: NewEvent) -> int:
    """Append, whatever the versions; the position after it."""
    return log.append(events, expected={}).position


def fill(log: Log) -> None:
    """A registry with two models, five versions and three deployments, in every kind of state, told in 16 appends."""
    add(log, event("registry:tenure", ev.RegistryCreated(registry="r7f3")))
    add(log, event("connection:local", ev.ConnectionDeclared(connection="local", provider="huggingface", settings={})))
    for model in ("billing-bot", "support-bot"):
        add(log, event(f"model:{model}", ev.ModelDeclared(model=model)))
    for model, number in (("support-bot", 1), ("support-bot", 2), ("billing-bot", 1), ("support-bot", 3)):
        numbered = event(f"model:{model}", ev.VersionNumbered(model=model, version=number))
        add(log, numbered, requested(model, number))
    add(log, trained("support-bot", 1, valid_loss=0.9, train_loss=0.5))
    add(log, trained("support-bot", 2, valid_loss=0.8, train_loss=0.6))
    add(log, trained("billing-bot", 1))
    add(log, deployment("dep_1", "support-bot", 1), deployment("dep_2", "support-bot", 2))
    add(log, event("deployment:dep_1", ev.DeploymentServing(endpoint="http://127.0.0.1:1")))
    add(log, deployment("dep_3", "billing-bot", 1, connection="other"))
    add(log, event("deployment:dep_2", ev.DeploymentDeleted(billed_to=None, reads=2)))
    add(
        log,
        event(
            "version:support-bot@1",
            ev.VersionActivated(model="support-bot", version=1, deployment="dep_1", replaced=None),
        ),
        event("model:support-bot", ev.ActiveVersionChanged(model="support-bot", version=1, previous=None)),
    )
