"""Customization jobs: data to S3, the job by our own token, losses from the CSVs that it leaves.

Bedrock knows a repeated request by its `clientRequestToken`; a job is looked for before it is made all the same, as
a token is forgotten after a while. Lists carry no tags, so the job's name says whose it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from providers.base_models import unlisted
from providers.bedrock.clients import Clients
from providers.bedrock.data import Converted, converted
from providers.bedrock.errors import is_missing, translated
from providers.bedrock.files import Files
from providers.bedrock.names import aws_name, aws_token, job_prefix, tags_of, token_mark
from providers.bedrock.pages import items_of
from providers.bedrock.settings import Settings
from providers.errors import ProviderError, RejectedError
from providers.hyperparameters import fault_of
from providers.ports import Artifact, Checkpoint, Estimate, JobOutcome, JobReport, MetricPoint, TrainingRequest
from providers.redaction import redacted

FEW = 3
UNFINISHED = ("InProgress", "Stopping")
COMMON = {"epochs": "epochCount", "batch_size": "batchSize", "learning_rate": "learningRate"}
WARMUP = "learningRateWarmupSteps"
NUMBERS = frozenset({"epochCount", "batchSize", "learningRate", WARMUP})
TRAINING_CSV = "training_artifacts/step_wise_training_metrics.csv"
VALIDATION_CSV = "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"
_OUTCOMES: Mapping[str, JobOutcome] = {"Completed": "succeeded", "Failed": "failed", "Stopped": "cancelled"}


class BedrockTraining:
    """`providers.ports.Training`. A job's id is its ARN, its name ours, cut to Bedrock's 63 characters."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        *,
        registry: str,
        base_models: Callable[[], Sequence[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._registry = registry
        self._base_models = base_models
        self._now = now
        self._files = Files(settings, clients, now=now)

    def validate(self, request: TrainingRequest) -> None:
        self._validated(request)

    def estimate(self, request: TrainingRequest) -> Estimate:
        self.validate(request)
        epochs = request.hyperparameters.get("epochs", request.hyperparameters.get("epochCount"))
        if epochs is None:
            return Estimate(notes=("epochCount is left to the provider: tokens are unknown.",))
        tokens = request.train.tokens
        return Estimate(tokens=None if tokens is None else tokens * int(float(str(epochs))))

    def submit(self, request: TrainingRequest) -> JobReport:
        if there := self.find(name=request.name, token=request.token):
            return there[0]
        train, validation = self._validated(request)
        name = aws_name(request.name)
        job_name = f"{job_prefix(request.name)}-{token_mark(request.token)}"
        tags = tags_of({**request.tags, "tenure_model": request.model, "tenure_token": request.token}, self._registry)
        arguments: dict[str, Any] = {
            "jobName": job_name,
            "customModelName": name,
            "roleArn": self._settings.role_arn,
            "clientRequestToken": aws_token(request.token),
            "baseModelIdentifier": request.base_model,
            "customizationType": "FINE_TUNING",
            "trainingDataConfig": {"s3Uri": self._files.uploaded(train)},
            "outputDataConfig": {"s3Uri": self._files.uri("output", name)},
            "hyperParameters": _own_names(request.hyperparameters),
            "jobTags": tags,
            "customModelTags": tags,
        }
        if validation is not None:
            arguments["validationDataConfig"] = {"validators": [{"s3Uri": self._files.uploaded(validation)}]}
        with translated("create-job", now=self._now, effect=True, token=request.token):
            arn = str(self._clients.get("bedrock").create_model_customization_job(**arguments)["jobArn"])
        report = None
        with contextlib.suppress(ProviderError):  # a read that fails says nothing against the job that was made
            report = self._get(arn)
        return report or JobReport(id=arn, name=request.name, status="InProgress", outcome="running")

    def find(self, *, name: str, token: str) -> Sequence[JobReport]:
        """With a filtered list each: the job's name holds ours, cut, and the token's digest; the model's is ours."""
        wanted, mark = aws_name(name), token_mark(token)
        named = [self._named(job) for job in self._listed(nameContains=job_prefix(name))]
        marked = [self._named(job) for job in self._listed(nameContains=mark) if str(job["jobName"]).endswith(mark)]
        ours = [*(job for job in named if job["customModelName"] == wanted), *marked]
        found = {str(job["jobArn"]): job for job in ours}
        return [self._report(job) for job in sorted(found.values(), key=lambda job: job["creationTime"])]

    def unfinished(self, *, or_ended_since: datetime | None = None) -> Sequence[JobReport]:  # noqa: ARG002 - a token makes one job
        ours = f"tenure-{self._registry}-"
        jobs = [job for status in UNFINISHED for job in self._listed(statusEquals=status, nameContains=ours)]
        return [self._report(self._named(job)) for job in jobs if str(job["jobName"]).startswith(ours)]

    def poll(self, ids: Sequence[str]) -> Mapping[str, JobReport]:
        missing = set(ids)
        found: dict[str, JobReport] = {}
        if len(missing) > FEW:
            for job in self._listed():
                if job["jobArn"] in missing and job["status"] not in _OUTCOMES:  # why it failed, only the job tells
                    found[job["jobArn"]] = self._report(job)
        # A list may be cut short or stale, and a job's own 404 older than the job: both say that it is not there.
        unread: set[str] = set()
        for arn in missing - found.keys():
            if (report := self._get(arn)) is not None:
                found[arn] = report
            else:
                unread.add(arn)
        if unread:
            found |= {job["jobArn"]: self._report(job) for job in self._listed() if job["jobArn"] in unread}
        return found

    def metrics(self, id: str, *, after_step: int) -> Sequence[MetricPoint]:
        """Bedrock writes them when the job has ended."""
        job = self._raw(id)
        if job is None or job.get("status") != "Completed":
            return []
        folder = f"{job['outputDataConfig']['s3Uri'].rstrip('/')}/model-customization-job-{id.rsplit('/', 1)[-1]}"
        points: dict[int, dict[str, float]] = {}
        epochs: dict[int, float] = {}
        for path, column, metric in (
            (TRAINING_CSV, "training_loss", "train_loss"),
            (VALIDATION_CSV, "validation_loss", "valid_loss"),
        ):
            for row in self._files.rows(f"{folder}/{path}"):
                step, value = _finite(row.get("step_number")), _finite(row.get(column))
                if step is not None and value is not None:
                    points.setdefault(int(step), {})[metric] = value
                    epochs[int(step)] = _finite(row.get("epoch_number")) or 0.0
        return [
            MetricPoint(step=step, metrics=points[step], epoch=epochs[step])
            for step in sorted(points)
            if step > after_step
        ]

    def checkpoints(self, id: str) -> Sequence[Checkpoint]:
        """Bedrock keeps none that could be served."""
        del id
        return []

    def cancel(self, id: str) -> None:
        job = self._raw(id)
        if job is None or job.get("status") in {*_OUTCOMES, "Stopping"}:
            return
        with translated("cancel-job", now=self._now, effect=True):
            self._clients.get("bedrock").stop_model_customization_job(jobIdentifier=id)

    def pause(self, id: str) -> None:
        """Bedrock has no pausing."""
        raise RejectedError(f"{id}: Bedrock's jobs cannot be paused", operation="pause-job")

    def resume(self, id: str) -> None:
        raise RejectedError(f"{id}: Bedrock's jobs cannot be paused or resumed", operation="resume-job")

    def clean_up(self) -> Sequence[str]:
        return self._files.clean_up(self._used) if self._settings.bucket else []

    def log_tail(self, id: str, *, lines: int = 40) -> Sequence[str]:
        job = self._raw(id)
        if job is None:
            return []
        details: dict[str, Any] = job.get("statusDetails") or {}
        told = [f"{name.removesuffix('Details')}: {detail.get('status', '-')}" for name, detail in details.items()]
        return [*told, *([str(job["failureMessage"])] if job.get("failureMessage") else [])][-lines:]

    def _validated(self, request: TrainingRequest) -> tuple[Converted, Converted | None]:
        faults = [] if self._settings.fine_tuning else ["this connection does not fine-tune (fine_tuning = false)"]
        if request.code is not None:
            faults.append("code: the provider runs its own trainer")
        if request.method != "supervised":  # and the rows are in a form that is none of Bedrock's
            raise RejectedError(f"method {request.method!r} is not one of supervised", operation="validate-job")
        faults += _faults_of(request.hyperparameters)
        train = converted(request.train, base_model=request.base_model)
        faults += train.faults
        validation = None
        if request.validation is not None:
            validation = converted(request.validation, base_model=request.base_model, rows_min=1)
            faults += validation.faults
            if both := len(train.rows & validation.rows):
                faults.append(f"{both} rows stand in the training and in the validation set")
        if not faults and request.base_model not in (known := self._base_models()):
            faults.append(unlisted(request.base_model, known))
        if faults:
            raise RejectedError("; ".join(faults), operation="validate-job")
        return train, validation

    def _used(self) -> set[str]:
        """Lists do not tell a job's data; an account runs few jobs at once."""
        unfinished = [job for status in UNFINISHED for job in self._listed(statusEquals=status)]
        named: set[str] = set()
        for job in (self._raw(str(one["jobArn"])) for one in unfinished):
            if job is not None:
                validation: dict[str, list[dict[str, str]]] = job.get("validationDataConfig") or {}
                named.add(str(job["trainingDataConfig"]["s3Uri"]))
                named.update(one["s3Uri"] for one in validation.get("validators", []))
        return named

    def _listed(self, **query: str) -> list[dict[str, Any]]:
        with translated("list-jobs", now=self._now):
            call = self._clients.get("bedrock").list_model_customization_jobs
            return items_of(call, "modelCustomizationJobSummaries", **query)

    def _named(self, job: dict[str, Any]) -> dict[str, Any]:
        """A list's summary, with the model's name, which it may lack."""
        if job.get("customModelName"):
            return job
        whole = self._raw(str(job["jobArn"])) or {}
        return {**job, "customModelName": whole.get("outputModelName") or job["jobName"]}

    def _get(self, arn: str) -> JobReport | None:
        job = self._raw(arn)
        return None if job is None else self._report(job)

    def _raw(self, arn: str) -> dict[str, Any] | None:
        try:
            with translated("get-job", now=self._now):
                return self._clients.get("bedrock").get_model_customization_job(jobIdentifier=arn)
        except RejectedError as error:
            if is_missing(error):
                return None
            raise

    def _report(self, job: Mapping[str, Any]) -> JobReport:
        """From a job or from a list's summary: the model's ARN has another key in each."""
        status, ended = str(job.get("status", "unknown")), job.get("endTime")
        outcome = _OUTCOMES.get(status, "running")
        model = job.get("outputModelArn") or job.get("customModelArn")
        base = str(job["baseModelArn"]).rsplit("/", 1)[-1]
        failure = job.get("failureMessage") or "Bedrock does not say why; see the job"
        trained: dict[str, float] = job.get("trainingMetrics") or {}
        validations: list[dict[str, float]] = job.get("validationMetrics") or []
        validated = [one["validationLoss"] for one in validations]
        figures = {"train_loss": trained["trainingLoss"]} if "trainingLoss" in trained else {}
        if validated:
            figures["valid_loss"] = sum(validated) / len(validated)
        return JobReport(
            id=str(job["jobArn"]),
            name=str(job.get("outputModelName") or job.get("customModelName") or job["jobName"]),
            status=status,
            outcome=outcome,
            artifact=Artifact(id=str(model), base_model=base) if model and outcome == "succeeded" else None,
            error=redacted(failure) if outcome == "failed" else None,
            finished_at=ended,
            duration_s=(ended - job["creationTime"]).total_seconds() if ended else None,
            metrics=figures,
        )


def _faults_of(given: Mapping[str, object]) -> list[str]:
    """Of the numbers that every base model has; what else there is, the provider knows."""
    faults: list[str] = []
    for name, value in given.items():
        own = COMMON.get(name, name)
        if own in NUMBERS:
            faults += fault_of(own, _number(value), whole=own != "learningRate", from_zero=own == WARMUP)
    return faults


def _number(value: object) -> object:
    """Bedrock takes numbers as texts."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _finite(text: str | None) -> float | None:
    """A figure of a CSV; None where there is none, as in a row that was cut off."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _own_names(given: Mapping[str, object]) -> dict[str, str]:
    """Bedrock's names, and every value as a text."""
    return {COMMON.get(name, name): str(value) for name, value in given.items()}
