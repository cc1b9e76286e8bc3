"""Fine-tuning jobs as OpenAI and Azure OpenAI run them: accepted at once, checked later, trained on the clock."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from providers.rehearsal.http import Reply, json_reply
from providers.rehearsal.openai_files import Files, page_of
from providers.rehearsal.openai_job_views import checkpoints_of, events_of, render, results_csv, steps_done
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.training_course import Course
from providers.rehearsal.truth import Json, Thing, table, tables
from providers.rehearsal.world import ACCOUNT, World

PAGE_MAX = 100
EXAMPLES_MIN = 10
SUFFIX_MAX = {"openai": 64, "azure": 40}
METADATA_PAIRS_MAX = 16
TRAINING_TYPES = frozenset({"standard", "globalstandard", "developer", "developertier"})
FINAL = frozenset({"succeeded", "failed", "cancelled"})
_EPOCHS_AUTO = 3


class Jobs:
    """`service` is `openai` or `azure`."""

    def __init__(self, world: World, service: str, files: Files) -> None:
        self._world = world
        self._service = service
        self._files = files
        self._kind = f"{service}.job"

    def routes(self, prefix: str) -> list[Route]:
        name, jobs = self._service, f"{prefix}/fine_tuning/jobs"
        return [
            Route("POST", jobs, f"{name}.create_job", "create", self.create),
            Route("GET", jobs, f"{name}.list_jobs", "list", self.list),
            Route("GET", f"{jobs}/{{id}}", f"{name}.get_job", "read", self.get),
            Route("POST", f"{jobs}/{{id}}/cancel", f"{name}.cancel_job", "change", self.cancel),
            Route("POST", f"{jobs}/{{id}}/pause", f"{name}.pause_job", "change", self.pause),
            Route("POST", f"{jobs}/{{id}}/resume", f"{name}.resume_job", "change", self.resume),
            Route("GET", f"{jobs}/{{id}}/events", f"{name}.list_events", "list", self.events),
            Route("GET", f"{jobs}/{{id}}/checkpoints", f"{name}.list_checkpoints", "list", self.checkpoints),
        ]

    def create(self, call: Exchange) -> Reply:
        body = call.body
        self._check(call, body)
        training = self._data(call, body.get("training_file"), "training_file")
        validation = body.get("validation_file")
        if validation:
            self._data(call, validation, "validation_file")
        job = Thing(
            kind=self._kind,
            id=self._world.id("ftjob-"),
            name=body.get("suffix") or "",
            account=ACCOUNT,
            created_at=call.now,
            body=_record(body, training),
        )
        self._world.truth.add(job)
        call.touched = job
        job.body["products"] = self._products(call, job)
        self._plan(job, call.now, failure=call.doom() or _data_fault(training, body))
        return json_reply(render(self._world, call, job))

    def list(self, call: Exchange) -> Reply:
        query = call.request.query
        limit = min(int(call.request.first("limit", "20")), PAGE_MAX)
        wanted = {name[9:-1]: texts[0] for name, texts in query.items() if name.startswith("metadata[")}
        if self._service == "azure":
            wanted = {}
        last = self._world.truth.find(self._kind, call.request.first("after"), call.view)
        found: list[Thing] = []
        below = last.serial if last else None
        for job in self._world.truth.newest_first(self._kind, call.view, below=below):
            if wanted.items() <= (job.body["metadata"] or {}).items():
                found.append(job)
                if len(found) > limit:
                    break
        page, cut = call.cut(found[:limit])
        items = [render(self._world, call, job) for job in page]
        return json_reply(page_of(items, more=len(found) > limit and not cut))

    def get(self, call: Exchange) -> Reply:
        return json_reply(render(self._world, call, self._find(call)))

    def cancel(self, call: Exchange) -> Reply:
        job = self._find(call)
        if job.status(call.now) in FINAL:
            raise RefusalError(400, "invalid_request", f"Job {job.id} has already ended: {job.status(call.now)}.")
        job.begin(call.now, "cancelled")
        self._drop_products(job, call.now)
        return json_reply(render(self._world, call, job))

    def pause(self, call: Exchange) -> Reply:
        job = self._find(call)
        if job.status(call.now) != "running":
            raise RefusalError(400, "invalid_request", f"Job {job.id} is not running, so it cannot be paused.")
        job.begin(call.now, "paused")
        self._drop_products(job, call.now)
        return json_reply(render(self._world, call, job))

    def resume(self, call: Exchange) -> Reply:
        job = self._find(call)
        if job.status(call.now) != "paused":
            raise RefusalError(400, "invalid_request", f"Job {job.id} is not paused, so it cannot be resumed.")
        self._run(job, call.now)
        return json_reply(render(self._world, call, job))

    def events(self, call: Exchange) -> Reply:
        return self._listed(call, events_of(self._world, self._find(call), call.view), default=20)

    def checkpoints(self, call: Exchange) -> Reply:
        return self._listed(call, checkpoints_of(self._world, self._find(call), call.view), default=10)

    def _listed(self, call: Exchange, items: list[Json], *, default: int) -> Reply:
        after = call.request.first("after")
        limit = min(int(call.request.first("limit", str(default))), PAGE_MAX)
        start = next((n + 1 for n, item in enumerate(items) if item["id"] == after), 0)
        return json_reply(page_of(items[start : start + limit], more=len(items) > start + limit))

    def _find(self, call: Exchange) -> Thing:
        job = self._world.truth.find(self._kind, call.params["id"], call.view)
        if job is None:
            raise RefusalError(404, "fine_tune_not_found", f"Could not find fine tune: {call.params['id']}")
        call.touched = job
        return job

    def _check(self, call: Exchange, body: Json) -> None:
        base = self._world.catalogue[self._service].get(str(body.get("model")))
        tuned = self._world.truth.find(f"{self._service}.model", str(body.get("model")), call.now)
        retired = base is not None and base.retires_at is not None and base.retires_at <= call.now
        if tuned is None and (base is None or not base.fine_tunable or retired):
            raise RefusalError(
                400,
                "model_not_available",
                f"Model {body.get('model')} is not available for fine-tuning or does not exist.",
                param="model",
            )
        longest = SUFFIX_MAX[self._service]
        if len(body.get("suffix") or "") > longest:
            raise RefusalError(400, "string_above_max_length", f"suffix is longer than {longest}.", param="suffix")
        metadata: Mapping[str, str] = body.get("metadata") or {}
        if len(metadata) > METADATA_PAIRS_MAX or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):  # noqa: PLR2004 - the documented bounds
            raise RefusalError(
                400, "invalid_metadata", "metadata: 16 pairs, keys of 64, values of 512.", param="metadata"
            )
        if self._service == "azure":
            self._check_azure(call, body)

    def _check_azure(self, call: Exchange, body: Json) -> None:
        if str(body.get("trainingType", "")).lower() not in TRAINING_TYPES:
            raise RefusalError(
                400, "invalidPayload", f"The specified base model '{body.get('model')}' does not support fine-tuning."
            )
        jobs = self._world.truth.things(self._kind, at=call.now)
        limit = self._world.limits.azure_jobs
        if sum(job.status(call.now) not in FINAL for job in jobs) >= limit:
            raise RefusalError(429, "quotaExceeded", f"{limit} jobs are running or queued, and no more may be.")

    def _data(self, call: Exchange, id: object, param: str) -> Thing:
        file = self._world.truth.find(f"{self._service}.file", str(id), call.now)
        if file is None:
            raise RefusalError(400, "invalid_file", f"invalid {param}: {id}", param=param)
        if self._service == "azure" and file.status(call.now) != "processed":
            raise RefusalError(400, "invalidPayload", f"The file {id} is not processed yet.", param=param)
        return file

    def _products(self, call: Exchange, job: Thing) -> list[Thing]:
        """What the job will leave, each with the share of the training after which it is there."""
        course: Course = job.body["course"]
        tag = self._world.id("", 8)
        final = self._model_name(job, tag)
        earlier = [(f"{final}:ckpt-step-{step}", step, step / course.steps) for step in course.epoch_ends()[:-1]]
        names = [(final, course.steps, 1.0), *earlier]
        models = [
            self._planned(call, "model", name, share, {"job": job.id, "step": step, "base": job.body["model"]})
            for name, step, share in names
        ]
        columns = "validation_" if self._service == "azure" and job.serial % 2 else "valid_"

        def results() -> bytes:
            table = results_csv(job.body, columns)
            return table if self._service == "azure" else base64.b64encode(table)

        body = {"content": b"", "render": results, "purpose": "fine-tune-results"}  # rendered when it is read
        return [*models, self._planned(call, "file", "step_metrics.csv", 1.0, body)]

    def _model_name(self, job: Thing, tag: str) -> str:
        if self._service == "azure":
            suffix = f"-{job.name}" if job.name else ""
            return f"{job.body['model']}.ft-{hashlib.sha256(tag.encode()).hexdigest()[:32]}{suffix}"
        return f"ft:{job.body['model']}:rehearsal:{job.name}:{tag}"

    def _planned(self, call: Exchange, kind: str, name: str, share: float, body: dict[str, Any]) -> Thing:
        thing = Thing(
            kind=f"{self._service}.{kind}",
            id=self._world.id("file-") if kind == "file" else name,
            name=name,
            account=ACCOUNT,
            created_at=call.now,
            phases=[(call.now, "processed")],
            body={**body, "share": share},
        )
        self._world.truth.add(thing)
        thing.spans = []
        return thing

    def _plan(self, job: Thing, now: datetime, *, failure: object) -> None:
        pace = self._world.pace
        waiting = "pending" if self._service == "azure" else "validating_files"
        checked = now + timedelta(seconds=pace.validating_s)
        job.phases = [(now, waiting)]
        if failure is not None:
            job.body["failure"] = failure
            job.phases.append((checked, "failed"))
            return
        job.phases.append((checked, "queued"))
        self._run(job, checked + timedelta(seconds=pace.queued_s))

    def _run(self, job: Thing, start: datetime) -> None:
        """From `start` it runs what is left of its time, and leaves what it has not left yet."""
        course: Course = job.body["course"]
        total_s = self._world.pace.training_s
        done_s = total_s * steps_done(self._world, job, start) / course.steps
        job.begin(start, "running")
        job.phases.append((start + timedelta(seconds=total_s - done_s), "succeeded"))
        for product in job.body["products"]:
            if not product.spans:
                due = start + timedelta(seconds=total_s * product.body["share"] - done_s)
                product.created_at = due
                product.spans = [(due, None)]

    @staticmethod
    def _drop_products(job: Thing, now: datetime) -> None:
        for product in job.body["products"]:
            if product.spans and product.spans[0][0] > now:
                product.spans = []


def _record(body: Json, training: Thing) -> Json:
    content: bytes = training.body["content"]
    rows = sum(1 for line in content.splitlines() if line.strip())
    method = table(body.get("method")) or {"type": "supervised"}
    asked = table(table(method.get(method["type"])).get("hyperparameters")) or table(body.get("hyperparameters"))
    chosen = {
        "n_epochs": _auto(asked.get("n_epochs"), _EPOCHS_AUTO),
        "batch_size": _auto(asked.get("batch_size"), max(1, rows // 256)),
        "learning_rate_multiplier": _auto(asked.get("learning_rate_multiplier"), 2.0),
    }
    course = Course(
        seed=hashlib.sha256(content).hexdigest(),
        rows=max(rows, 1),
        size_bytes=len(content),
        epochs=int(chosen["n_epochs"]),
        batch_size=int(chosen["batch_size"]),
    )
    kept = ("model", "training_file", "validation_file", "metadata", "seed", "integrations", "trainingType")
    return {
        **{name: body.get(name) for name in kept},
        "method": {**method, method["type"]: {"hyperparameters": {**asked, **chosen}}},
        "hyperparameters": chosen,
        "course": course,
    }


def _auto(value: object, chosen: float) -> float:
    return chosen if value in {None, "auto"} else float(str(value))


def _data_fault(training: Thing, body: Json) -> Json | None:
    """What the check of the files finds, as the failed job tells it."""
    supervised = table(body.get("method")).get("type", "supervised") == "supervised"
    rows = 0
    for number, line in enumerate(training.body["content"].decode("utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        rows += 1
        try:
            row = table(json.loads(line))
        except ValueError:
            row = {}
        if not row or (supervised and not _has_answer(row)):
            return {
                "code": "invalid_training_file",
                "message": f"The job failed due to an invalid training file. Line {number} is not a chat example.",
                "param": "training_file",
            }
    if rows < EXAMPLES_MIN:
        return {
            "code": "invalid_n_examples",
            "message": f"Training file has {rows} example(s), but must have at least {EXAMPLES_MIN} examples",
            "param": "training_file",
        }
    return None


def _has_answer(row: Json) -> bool:
    roles = [message.get("role") for message in tables(row.get("messages"))]
    return "assistant" in roles and set(roles) <= {"system", "user", "assistant", "tool", "developer"}
