"""Fine-tuning jobs through the openai SDK, at OpenAI and at Azure OpenAI's data plane.

A job bears our name and token in its metadata. It is looked for before it is made, because neither provider knows two
requests for the same one.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from providers.base_models import unlisted
from providers.errors import RejectedError
from providers.openai import hyperparameters
from providers.openai.client import Client
from providers.openai.data import Converted, converted, faults_of
from providers.openai.errors import absent, translated
from providers.openai.files import Files
from providers.openai.lists import PAGE, PAGES_MAX, Json, pages, thing
from providers.ports import (
    Artifact,
    Checkpoint,
    Estimate,
    JobOutcome,
    JobReport,
    MetricPoint,
    TrainingRequest,
)
from providers.redaction import redacted

FEW = 3
"""So many jobs are asked for one by one: cheaper than a page."""
JOB_MAX = timedelta(days=30)
"""No job runs longer: what is older has ended, and its pages are not read for what runs."""
NAME_KEY, TOKEN_KEY, MODEL_KEY = "tenure_name", "tenure_token", "tenure_model"
_OUTCOMES: Mapping[str, JobOutcome] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between the two providers of this API.

    `files_first`: a job may name a file only once it is processed. `filters`: job lists can be filtered by metadata.
    `suffix_max`: characters of what is added to a tuned model's name.
    """

    fine_tuning: bool
    files_first: bool = False
    filters: bool = True
    suffix_max: int = 64
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


class CloudTraining:
    """`providers.ports.Training`. `base_models` tells what can be tuned, with one call."""

    def __init__(
        self,
        client: Client,
        dialect: Dialect,
        *,
        base_models: Callable[[], Sequence[str]],
        registry: str,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._ours = f"tenure-{registry}-"
        self._dialect = dialect
        self._base_models = base_models
        self._now = now
        self._files = Files(client, wait=dialect.files_first, now=now)

    def validate(self, request: TrainingRequest) -> None:
        self._validated(request)

    def estimate(self, request: TrainingRequest) -> Estimate:
        self.validate(request)
        named = hyperparameters.own_names(request.hyperparameters)
        epochs, batch = _whole(named.get("n_epochs")), _whole(named.get("batch_size"))
        tokens = request.train.tokens
        return Estimate(
            tokens=tokens * epochs if tokens is not None and epochs is not None else None,
            steps=math.ceil(request.train.rows / batch) * epochs if batch is not None and epochs is not None else None,
            notes=() if epochs is not None else ("n_epochs is left to the provider: tokens are unknown.",),
        )

    def submit(self, request: TrainingRequest) -> JobReport:
        if there := self.find(name=request.name, token=request.token):
            return there[0]
        train, validation = self._validated(request)
        arguments: dict[str, Any] = {
            "model": request.base_model,
            "training_file": self._files.uploaded(train),
            "suffix": _cut(request.name, self._dialect.suffix_max),
            "metadata": {NAME_KEY: request.name, TOKEN_KEY: request.token, MODEL_KEY: request.model},
            "method": hyperparameters.method_of(request.hyperparameters, request.method),
            "extra_body": dict(self._dialect.extra) or None,
        }
        if validation is not None:
            arguments["validation_file"] = self._files.uploaded(validation)
        if "seed" in request.hyperparameters:
            arguments["seed"] = request.hyperparameters["seed"]
        try:
            with translated("create-job", now=self._now, effect=True, token=request.token):
                made = self._client.get().fine_tuning.jobs.with_raw_response.create(**arguments)
                return _report(_job(made.http_response.json()))
        except RejectedError as refusal:
            files = [str(arguments[key]) for key in ("training_file", "validation_file") if key in arguments]
            if (unread := self._files.still_read(files)) is not None:
                raise unread from refusal
            raise

    def find(self, *, name: str, token: str) -> Sequence[JobReport]:
        if self._dialect.filters:
            jobs = [*self._filtered(NAME_KEY, name), *self._filtered(TOKEN_KEY, token)]
        else:
            jobs = self._listed({}, until=lambda _: False)
        ours = {str(job["id"]): job for job in jobs if self._is_ours(job, name, token)}
        return [_report(job) for job in sorted(ours.values(), key=_made_at)]

    def unfinished(self, *, or_ended_since: datetime | None = None) -> Sequence[JobReport]:
        oldest = (self._now() - JOB_MAX).timestamp()
        jobs = self._listed({}, until=lambda _: False, since=oldest)
        reports = [_report(job) for job in jobs if _named(job).startswith(self._ours)]
        return [
            one
            for one in reports
            if one.outcome == "running"
            or (or_ended_since is not None and one.finished_at is not None and one.finished_at >= or_ended_since)
        ]

    def poll(self, ids: Sequence[str]) -> Mapping[str, JobReport]:
        missing = set(ids)
        found: dict[str, JobReport] = {}
        if len(missing) > FEW:
            enough = 2 * math.ceil(len(missing) / PAGE) + 1
            for job in self._listed({}, until=lambda seen: missing <= seen, pages_max=enough):
                if job["id"] in missing:
                    found[job["id"]] = _report(job)
        # A list may be cut short or stale: only the job's own 404 says that it is not there.
        for one in missing - found.keys():
            if (job := self._get(one)) is not None:
                found[one] = _report(job)
        return found

    def metrics(self, id: str, *, after_step: int) -> Sequence[MetricPoint]:
        job = self._get(id)
        if job is None:
            return []
        points = self._results(job) if job["status"] in _OUTCOMES else {}
        points = points or self._event_points(id, after_step)
        return [points[step] for step in sorted(points) if step > after_step]

    def checkpoints(self, id: str) -> Sequence[Checkpoint]:
        if (job := self._get(id)) is None:
            return []
        asked = self._client.get().fine_tuning.jobs.checkpoints.with_raw_response
        with translated("list-checkpoints", now=self._now):
            listed = [
                thing(one, "step_number", "fine_tuned_model_checkpoint")
                for page in pages(lambda follow: asked.list(id, limit=PAGE, extra_query=follow))
                for one in page
            ]
        return [
            Checkpoint(
                step=int(one["step_number"]),
                artifact=Artifact(
                    id=str(one["fine_tuned_model_checkpoint"]), base_model=job.get("model"), kind="checkpoint"
                ),
                metrics=_figures(one.get("metrics") or {}),
            )
            for one in sorted(listed, key=lambda one: int(one["step_number"]))
        ]

    def cancel(self, id: str) -> None:
        job = self._get(id)
        if job is None or job["status"] in _OUTCOMES:
            return
        with translated("cancel-job", now=self._now, effect=True):
            self._client.get().fine_tuning.jobs.cancel(id)

    def pause(self, id: str) -> None:
        with translated("pause-job", now=self._now, effect=True):
            self._client.get().fine_tuning.jobs.pause(id)

    def resume(self, id: str) -> None:
        with translated("resume-job", now=self._now, effect=True):
            self._client.get().fine_tuning.jobs.resume(id)

    def clean_up(self) -> Sequence[str]:
        return self._files.clean_up(self._used)

    def log_tail(self, id: str, *, lines: int = 40) -> Sequence[str]:
        if self._get(id) is None:
            return []
        asked = self._client.get().fine_tuning.jobs.with_raw_response
        with translated("list-events", now=self._now):
            answer = asked.list_events(id, limit=min(lines, PAGE)).http_response.json()
            events = [thing(one, "id") for one in thing(answer, "data")["data"]]
        return [str(event.get("message") or "") for event in reversed(events)]

    def _validated(self, request: TrainingRequest) -> tuple[Converted, Converted | None]:
        faults = [] if self._dialect.fine_tuning else ["this connection does not fine-tune (fine_tuning = false)"]
        if request.code is not None:
            faults.append("code: the provider runs its own trainer")
        faults += hyperparameters.faults_of(request.hyperparameters, request.method)
        train = converted(request.train, method=request.method)
        validation = converted(request.validation, method=request.method) if request.validation else None
        faults += faults_of(train, validation)
        if not faults and request.base_model not in (known := self._base_models()):
            faults.append(unlisted(request.base_model, known))
        if faults:
            raise RejectedError("; ".join(faults), operation="validate-job")
        return train, validation

    def _is_ours(self, job: Json, name: str, token: str) -> bool:
        return _named(job) in {name, _cut(name, self._dialect.suffix_max)} or _metadata(job).get(TOKEN_KEY) == token

    def _used(self) -> set[str]:
        unfinished = [job for job in self._listed({}, until=lambda _: False) if job["status"] not in _OUTCOMES]
        return {str(job.get(key)) for job in unfinished for key in ("training_file", "validation_file")}

    def _filtered(self, key: str, value: str) -> list[Json]:
        return self._listed({f"metadata[{key}]": value}, until=lambda _: False)

    def _listed(
        self,
        query: Mapping[str, str],
        *,
        until: Callable[[set[str]], bool],
        pages_max: int = PAGES_MAX,
        since: float = 0.0,
    ) -> list[Json]:
        """Newest first, page by page, until the ids seen are enough, or the jobs older than `since`."""
        asked = self._client.get().fine_tuning.jobs.with_raw_response
        jobs: list[Json] = []
        seen: set[str] = set()
        with translated("list-jobs", now=self._now):
            listed = pages(lambda follow: asked.list(limit=PAGE, extra_query={**query, **follow}), pages_max=pages_max)
            for page in listed:
                jobs += [_job(one) for one in page]
                seen.update(job["id"] for job in page)
                if until(seen) or 0.0 < _made_at(page[-1]) < since:
                    break
        return jobs

    def _get(self, id: str) -> Json | None:
        with translated("get-job", now=self._now):
            import openai

            try:
                return _job(self._client.get().fine_tuning.jobs.with_raw_response.retrieve(id).http_response.json())
            except openai.NotFoundError as exc:
                return absent(exc)

    def _results(self, job: Json) -> dict[int, MetricPoint]:
        """Empty where the provider has no such file, or no longer."""
        files: list[object] = job.get("result_files") or []
        if not files:
            return {}
        with translated("get-results", now=self._now):
            import openai

            try:
                content = self._client.get().files.content(str(files[0])).content
            except openai.NotFoundError:
                return {}
        rows = [_figures(row) for row in csv.DictReader(io.StringIO(_csv_text(content)))]
        return {step: point for row in rows if (point := _point(row)) is not None for step in [point.step]}

    def _event_points(self, id: str, after_step: int) -> dict[int, MetricPoint]:
        """Back to a page that has nothing newer."""
        points: dict[int, MetricPoint] = {}
        asked = self._client.get().fine_tuning.jobs.with_raw_response
        with translated("list-events", now=self._now):
            for page in pages(lambda follow: asked.list_events(id, limit=PAGE, extra_query=follow)):
                figures = [_figures(event.get("data") or {}) for event in page]
                found = [point for one in figures if (point := _point(one)) is not None]
                points |= {point.step: point for point in found}
                if found and all(point.step <= after_step for point in found):
                    break
        return points


def _report(job: Json) -> JobReport:
    status = str(job["status"])
    outcome = _OUTCOMES.get(status, "running")
    done = job.get("fine_tuned_model") if outcome == "succeeded" else None
    ended: float | None = job.get("finished_at")
    return JobReport(
        id=str(job["id"]),
        name=_named(job) or str(job["id"]),
        status=status,
        outcome=outcome,
        artifact=Artifact(id=str(done), base_model=job.get("model")) if done else None,
        error=_error(job.get("error")) if outcome == "failed" else None,
        estimated_finish_at=_moment(job.get("estimated_finish")),
        finished_at=_moment(ended) if outcome != "running" else None,
        trained_tokens=_whole(job.get("trained_tokens")),
        duration_s=float(ended - _made_at(job)) if ended and _made_at(job) else None,
    )


def _job(answer: object) -> Json:
    """Raises ValueError for what is no job."""
    return thing(answer, "id", "status")


def _made_at(job: Json) -> float:
    return float(job.get("created_at") or 0.0)


def _error(told: object) -> str | None:
    """OpenAI tells a code and a message, proxies a sentence, and a job without an error all of them as null."""
    if not isinstance(told, dict):
        return redacted(told) if told else None
    error = cast("dict[str, object]", told)
    code = error.get("code")
    return (
        redacted(error.get("message") or "", code=None if code is None else str(code)) if any(error.values()) else None
    )


def _named(job: Json) -> str:
    """The name that we gave it; where the service keeps no metadata (Azure documents none), as its suffix has it."""
    named = _metadata(job).get(NAME_KEY) or job.get("suffix") or job.get("user_provided_suffix")
    return str(named or "")


def _cut(name: str, length_max: int) -> str:
    if len(name) <= length_max:
        return name
    tail = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name[: length_max - len(tail)] + tail


def _metadata(job: Json) -> Mapping[str, str]:
    metadata: object = job.get("metadata")
    return cast("dict[str, str]", metadata) if isinstance(metadata, dict) else {}


def _csv_text(content: bytes) -> str:
    """OpenAI hands its results out in base64, Azure as they are.

    https://cookbook.openai.com/examples/fine_tuning_for_function_calling
    """
    if b"," not in content:
        with contextlib.suppress(ValueError):
            content = base64.b64decode(b"".join(content.split()), validate=True)
    return content.decode("utf-8-sig", errors="replace")


def _figures(row: Mapping[str, object]) -> dict[str, float]:
    """Numbers by name, in OpenAI's spelling: Azure writes `validation_` where OpenAI writes `valid_`."""
    found: dict[str, float] = {}
    for name, value in row.items():
        number = _number(value)
        if number is not None and math.isfinite(number):
            found[name.replace("validation_", "valid_")] = number
    return found


def _point(figures: Mapping[str, float]) -> MetricPoint | None:
    if "step" not in figures:
        return None
    metrics = {name: value for name, value in figures.items() if name not in {"step", "total_steps"}}
    return MetricPoint(step=int(figures["step"]), metrics=metrics) if metrics else None


def _number(value: object) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(str(value))
    except ValueError:
        return None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _moment(stamp: float | None) -> datetime | None:
    """None also for what is no time of this calendar: nothing that happens depends on it."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromtimestamp(stamp, UTC) if stamp else None
    return None
