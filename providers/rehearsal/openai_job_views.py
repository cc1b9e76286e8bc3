"""How a fine-tuning job is shown: as an object, as events, as checkpoints, and as the result file it leaves."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from providers.rehearsal.service import Exchange
from providers.rehearsal.training_course import Course
from providers.rehearsal.truth import Json, Thing
from providers.rehearsal.world import World

METRIC_EVENTS_MAX = 200


def steps_done(world: World, job: Thing, at: datetime) -> int:
    """How far it has trained at a moment; the time it was paused does not count."""
    course: Course = job.body["course"]
    run_s = 0.0
    for (start, word), (end, _) in zip(job.phases, [*job.phases[1:], (at, "")], strict=True):
        if word == "running":
            run_s += max(0.0, (min(end, at) - start).total_seconds())
    if job.status(at) == "succeeded":
        return course.steps
    return min(course.steps, int(course.steps * run_s / max(world.pace.training_s, 1e-9) + 1e-6))


def render(world: World, call: Exchange, job: Thing) -> Json:
    word = call.status(job)
    done = word in {"succeeded", "failed", "cancelled"}
    since = world.clock.told(job.since(call.view))
    model, files = _final(job, call.view)
    azure = job.kind.startswith("azure")
    shown: Json = {
        "object": "fine_tuning.job",
        "id": job.id,
        "created_at": _stamp(world, job.created_at),
        "finished_at": int(since.timestamp()) if done else None,
        "fine_tuned_model": model if word == "succeeded" else None,
        "organization_id": None if azure else "org-rehearsal",
        "result_files": files or (None if azure else []),
        "status": word,
        "trained_tokens": job.body["course"].tokens if word == "succeeded" else None,
        "estimated_finish": _estimate(world, job) if word == "running" else None,
        "error": _error(job) if word == "failed" else None,
        "user_provided_suffix": job.name or None,
        "rehearsal": True,
    }
    names = ("model", "training_file", "validation_file", "metadata", "integrations", "method", "hyperparameters")
    kept = {name: job.body[name] for name in names}
    # Azure documents neither metadata nor a trace of them: only the suffix says whose a job is.
    extra = {"trainingType": job.body["trainingType"], "metadata": None, "suffix": job.name} if azure else {}
    return {**shown, **kept, **extra, "seed": job.body["seed"] or 42}


def events_of(world: World, job: Thing, at: datetime) -> list[Json]:
    """Newest first: a message for each change of status, metrics for (some of) the steps."""
    course: Course = job.body["course"]
    entries: list[tuple[datetime, str, Json | None]] = [
        (moment, f"Status: {word}", None) for moment, word in job.phases if moment <= at
    ]
    every = math.ceil(course.steps / METRIC_EVENTS_MAX)
    for step in range(every, steps_done(world, job, at) + 1, every):
        data = metrics_at(job.body, step)
        text = f"Step {step}/{course.steps}: training loss={data['train_loss']:.2f}"
        entries.append((_step_time(world, job, step), text, data))
    entries.sort(key=lambda entry: entry[0])
    return [
        {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{job.id[6:18]}-{number}",
            "created_at": _stamp(world, moment),
            "level": "info",
            "message": text,
            "type": "message" if data is None else "metrics",
            "data": data or {},
        }
        for number, (moment, text, data) in reversed(list(enumerate(entries)))
    ]


def checkpoints_of(world: World, job: Thing, at: datetime) -> list[Json]:
    """Newest first; the last step's checkpoint is the tuned model itself."""
    models = [thing for thing in job.body["products"] if thing.kind.endswith(".model") and thing.exists(at)]
    models.sort(key=lambda model: -model.body["step"])
    return [
        {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt-{job.id[6:18]}-{model.body['step']}",
            "created_at": _stamp(world, model.created_at),
            "fine_tuned_model_checkpoint": model.id,
            "fine_tuning_job_id": job.id,
            "metrics": metrics_at(job.body, model.body["step"]),
            "step_number": model.body["step"],
        }
        for model in models
    ]


def metrics_at(body: Json, step: int) -> Json:
    course: Course = body["course"]
    train, valid = course.train_loss(step), course.valid_loss(step)
    found: Json = {"step": step, "train_loss": train, "train_mean_token_accuracy": course.accuracy(train)}
    if body["validation_file"]:
        found |= {"valid_loss": valid, "valid_mean_token_accuracy": course.accuracy(valid)}
        if step % course.steps_per_epoch == 0:
            found |= {"full_valid_loss": valid, "full_valid_mean_token_accuracy": course.accuracy(valid)}
    return found


def results_csv(body: Json, spelling: str) -> bytes:
    """`spelling`: `valid_` or `validation_`, the two ways in which Azure has named one column."""
    names = (
        "step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy",
        "full_valid_loss", "full_valid_mean_token_accuracy",
    )  # fmt: skip
    head = [f"{spelling}mean_token_accuracy" if name == "valid_mean_token_accuracy" else name for name in names]
    course: Course = body["course"]
    lines = [",".join(head)]
    for step in range(1, course.steps + 1):
        point = metrics_at(body, step)
        lines.append(",".join(str(point.get(name, "")) for name in names))
    return ("\n".join(lines) + "\n").encode()


def _final(job: Thing, at: datetime) -> tuple[str | None, list[str]]:
    products: list[Thing] = job.body["products"]
    there = [product for product in products if product.body["share"] == 1.0 and product.spans]
    model = next((thing.id for thing in there if thing.kind.endswith(".model")), None)
    return model, [thing.id for thing in there if thing.kind.endswith(".file") and thing.exists(at)]


def _error(job: Thing) -> Json:
    failure = job.body.get("failure")
    if isinstance(failure, dict):
        return {**failure}  # pyright: ignore[reportUnknownVariableType]
    return {"code": "job_failed", "message": str(failure), "param": None}


def _estimate(world: World, job: Thing) -> int:
    return _stamp(world, job.phases[-1][0])


def _step_time(world: World, job: Thing, step: int) -> datetime:
    """When it had trained so many steps."""
    course: Course = job.body["course"]
    left_s = world.pace.training_s * step / course.steps
    for (start, word), (end, _) in zip(job.phases, [*job.phases[1:], (datetime.max, "")], strict=True):  # noqa: DTZ901 - never compared
        if word != "running":
            continue
        span_s = (end.replace(tzinfo=start.tzinfo) - start).total_seconds()
        if left_s <= span_s:
            return start + timedelta(seconds=left_s)
        left_s -= span_s
    return job.phases[-1][0]


def _stamp(world: World, at: datetime) -> int:
    return int(world.clock.told(at).timestamp())
