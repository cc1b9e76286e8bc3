"""An example of every answer, made of the views themselves, so that none lacks a field or has one too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from registry.application import views
from registry.application.replaying import ReplayedActView, ReplayView
from registry.domain.events import Json
from registry.domain.policy import POLICY_DEFAULTS

MADE = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
SERVED = datetime(2026, 11, 22, 20, 26, 40, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
RATE = Decimal("1.70")
COST = Decimal("21.344444")
POLICY: Json = {**POLICY_DEFAULTS, "idle_delete": "7d", "max_hourly_cost": "20.00"}

DEPLOYMENT = views.DeploymentView(
    id="dep_29b4dd1bedb3b29e", model="support-bot", version=3, ref="support-bot@3", connection="azure-prod",
    provider="azure-openai", provider_id="tenure-rsb4ua-support-bot-3-1", name="tenure-rsb4ua-support-bot-3-1",
    state="serving", billed=True, billed_from=SERVED, billed_to=None, committed_until=None, hourly_rate=RATE,
    currency="USD", cost_to_date=COST, requested_at=SERVED, requested_by="user:ana", reason="better on refunds",
    attached=False, other_artifact=None, endpoint="https://acme.openai.azure.com", error=None, stream_version=3,
)  # fmt: skip
VERSION = views.VersionView(
    model="support-bot", version=3, ref="support-bot@3", state="active", active=True, connection="azure-prod",
    provider="azure-openai", base_model="gpt-4.1-2025-04-14", method="supervised", hyperparameters={"n_epochs": 2},
    job=views.JobView(id="ftjob-abc123", status="succeeded"),
    artifact=views.ArtifactView(id="gpt-4.1-2025-04-14.ft-0a1b2c", digest=None), deployments=(DEPLOYMENT.id,),
    dataset={"train": {"name": "train.csv", "rows": 800, "tokens": 51234, "sha256": "5f8ce4f2…"}, "validation": None},
    metrics={"train_loss": 0.71, "valid_loss": 0.84}, error=None, attempt=1, approvals=(), legal=("retire",),
    created_at=MADE, created_by="user:ana", changed_at=SERVED, activated_at=SERVED, retired_at=None, retires_on=None,
    stream_version=11,
)  # fmt: skip
STEP = views.StepView(action="watch deployment", subject=DEPLOYMENT.id, why="it is billed as long as it is there")
INTERVAL = views.IntervalView(from_=SERVED, to=NOW, known=True, hourly_rate=RATE, cost=COST)
TRAINING = views.TrainingCostView(
    version="support-bot@3", connection="azure-prod", provider="azure-openai", quantity=Decimal("0.102468"),
    unit="1M-tokens", price=Decimal("27.50"), cost=Decimal("2.817870"), currency="USD", trained_at=MADE,
)  # fmt: skip
ORPHAN_JOB = views.OrphanJobView(
    id="ftjob-def456", name="tenure-rsb4ua-support-bot-4-1", status="running", found_at=NOW, suspected="support-bot@4",
    duplicate=False,
)  # fmt: skip
ACT = ReplayedActView(
    at=SERVED, what="deploy", subject="support-bot@3", actor="user:ana", why="asked for", where="both"
)

SHOWN: Mapping[str, views.View] = {
    "Version": VERSION,
    "Deployment": DEPLOYMENT,
    "Step": STEP,
    "Interval": INTERVAL,
    "TrainingCost": TRAINING,
    "ReplayedAct": ACT,
    "Model": views.ModelView(
        model="support-bot", active="support-bot@3", versions=3, moving=(), policy=POLICY, created_at=MADE,
        created_by="user:ana", stream_version=8,
    ),
    "Connection": views.ConnectionView(
        name="azure-prod", provider="azure-openai", settings={"resource_group": "ml", "api_key_env": "AZURE_KEY"},
        fine_tuning=True, error=None, declared_at=MADE, orphan_jobs=(ORPHAN_JOB,), stream_version=1,
    ),
    "OrphanJob": ORPHAN_JOB,
    "Event": views.EventView(
        position=31, stream="version:support-bot@3", stream_version=11, id="019ab3c4d5e67f8091a2b3c4d5e6f708",
        type="version-activated", schema_version=1, recorded_at=SERVED, actor="user:ana", reason="better on refunds",
        correlation_id="019ab3c4d5e67f8091a2b3c4d5e6f701", causation_id="019ab3c4d5e67f8091a2b3c4d5e6f701",
        data={"model": "support-bot", "version": 3, "replaced": 2, "deployment": DEPLOYMENT.id}, hash="04f6150e…",
    ),
    "Metric": views.MetricView(step=40, name="valid_loss", value=0.84, epoch=2.0, attempt=1, recorded_at=MADE),
    "Checkpoint": views.CheckpointView(step=20, artifact="ft:gpt-4.1:acme::ckpt-20", metrics={"valid_loss": 0.97}),
    "Change": views.ChangeView(kind="add", subject="connection azure-prod", detail="azure-openai"),
    "Check": views.CheckView(name="credential", passed=False, detail="AZURE_KEY is not set", remedy="export AZURE_KEY"),
    "Estimate": views.EstimateView(
        train={"rows": 800, "tokens": 51234, "sha256": "5f8ce4f2…"}, validation=None, tokens=102468, steps=None,
        duration_s=None, cost=Decimal("2.817870"), currency="USD", notes=("2 epochs",),
    ),
    "SideBySide": views.SideBySideView(deployment=DEPLOYMENT, provider_status="Succeeded"),
    "Audit": views.AuditView(
        from_=MADE, to=NOW, currency="USD", total=COST + Decimal("2.817870"),
        totals={"USD": COST + Decimal("2.817870")}, hourly_rate=RATE, hourly_rates={"USD": RATE}, unpriced=0,
        deployments=(views.BilledDeploymentView(deployment=DEPLOYMENT, intervals=(INTERVAL,), cost=COST),),
        training=(TRAINING,),
    ),
    "Replay": ReplayView(
        model="support-bot", policy=POLICY, to=NOW, acts=(ACT,), cost=COST, recorded_cost=Decimal("61.20"),
        difference=COST - Decimal("61.20"), currency="USD", unpriced=0,
    ),
}  # fmt: skip
"""By the name of the component."""

SENT: Mapping[str, Json] = {
    "/api/v1/models/{model}/policy": {"superseded": "delete", "superseded_grace": "10m", "max_hourly_cost": "20.00"},
    "/api/v1/models/{model}/policy/replay": {"superseded": "keep"},
    "/api/v1/apply": {
        "connections": {"local": {"provider": "huggingface"}},
        "models": {"support-bot": {"policy": {"superseded_grace": "0s"}}},
    },
}
"""Bodies that are a file's own keys, by path."""
PLAIN: Mapping[str, object] = {
    "/api/v1/models/{model}/policy": POLICY,
    "/api/v1/models/{model}/active": {"model": "support-bot", "version": 3, "ref": "support-bot@3"},
    "/api/v1/connections/{name}/artifacts": {
        "items": [{"id": "gpt-4.1-2025-04-14.ft-0a1b2c", "versions": ["support-bot@3"]}],
        "next": None,
    },
    "/api/v1/log/verify": {"events": 64},
    "/api/v1/log/rebuild": {"events": 64},
    "/healthz": {"status": "alive"},
    "/readyz": {"status": "ready"},
}
"""Answers that are no view, by path."""


def add_to(document: dict[str, Any]) -> None:
    """Put an example beside every body and every answer of an OpenAPI document."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    for name, view in SHOWN.items():
        schemas[name]["example"] = view.as_json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for content in _json(operation.get("requestBody", {})):
                content["example"] = SENT.get(path) or _example(content["schema"], schemas)
            for status, response in operation["responses"].items():
                for content in _json(response) if status.startswith("2") else ():
                    found = _example(content["schema"], schemas)
                    content["example"] = PLAIN.get(path) if found is None else found


def _json(holder: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (content for media, content in holder.get("content", {}).items() if media == "application/json")


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> object:
    """Of a schema, the one it refers to, or the first of several; of a page, one with one item. None: there is none."""
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas)
    items = schema.get("properties", {}).get("items", {}).get("items")
    if items is not None and "$ref" in items:
        return {"items": [_example(items, schemas)], "next": None}
    return schema.get("example") or next(iter(schema.get("examples", ())), None)
