"""The files that a Bedrock customization job leaves below its output prefix in S3."""

from __future__ import annotations

import math
from datetime import datetime

from providers.rehearsal.training_course import Course
from providers.rehearsal.truth import Thing


def result_files(job: Thing, done: datetime) -> list[Thing]:
    course: Course = job.body["course"]
    root = job.body["outputDataConfig"]["s3Uri"].removeprefix("s3://").rstrip("/")
    folder = f"{root}/model-customization-job-{job.body['short']}"
    losses = [course.train_loss(step) for step in range(1, course.steps + 1)]
    rows = [
        f"{step},{(step - 1) // course.steps_per_epoch},{loss},{math.exp(loss):.4f}"
        for step, loss in enumerate(losses, start=1)
    ]
    files = {
        "training_artifacts/step_wise_training_metrics.csv": [
            "step_number,epoch_number,training_loss,perplexity",
            *rows,
        ]
    }
    if job.body["validated"]:
        points = [
            f"{step},{number},{course.valid_loss(step)},{math.exp(course.valid_loss(step)):.4f}"
            for number, step in enumerate(course.epoch_ends())
        ]
        files["validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"] = [
            "step_number,epoch_number,validation_loss,perplexity",
            *points,
        ]
    return [
        Thing(
            kind="s3.object",
            id=f"{folder}/{name}",
            name=name,
            account=root.split("/")[0],
            created_at=done,
            phases=[(done, "there")],
            spans=[(done, None)],
            body={"content": ("\n".join(lines) + "\n").encode()},
        )
        for name, lines in files.items()
    ]
